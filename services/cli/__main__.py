"""``cct``, also ``python -m services.cli``: the suite at the terminal."""

import sys


def main() -> None:
    """Runs the command line of this process."""
    try:
        from services.cli import app  # noqa: PLC0415 - an environment from before typer gets a readable line
    except ModuleNotFoundError as error:
        sys.exit(f"cct: {error.name} is not installed here: run `make run` once, which installs it")
    app.run()


if __name__ == "__main__":
    main()
