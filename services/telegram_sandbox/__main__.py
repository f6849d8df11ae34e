"""Starts the sandbox: ``python -m services.telegram_sandbox``."""

from services.kit.runner import main
from services.telegram_sandbox.app import create_app
from services.telegram_sandbox.settings import SandboxSettings

if __name__ == "__main__":
    main(create_app, SandboxSettings)
