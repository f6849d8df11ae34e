"""``python -m services.bridge``: the bridge alone, as in its container."""

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit.runner import main

main(create_app, BridgeSettings)
