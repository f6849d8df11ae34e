"""Small file systems for tests, which become full and have room again. Only root may mount one."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system; the ballast in it takes the room away."""

    folder: Path

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Leaves no room at all."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(65_536))
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()

    def give_to(self, user: str | None) -> None:
        """Lets another user reach and use it."""
        if user is None:
            return
        shutil.chown(self.folder, user)
        self.folder.parent.chmod(0o711)


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Mounts a file system on a new folder.

    It is none of pytest's folders: pytest takes the rights of other users away from those.
    """
    above = Path(tempfile.mkdtemp(prefix="cctelegram-disk-"))
    folder = above / "disk"
    folder.mkdir()
    options = f"size={megabytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)
        shutil.rmtree(above)


def may_mount() -> bool:
    """Returns whether this user may mount a file system here."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
