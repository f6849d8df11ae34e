"""``python -m services.alert_relay``."""

from services.alert_relay.app import create_app
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import main

if __name__ == "__main__":
    main(create_app, AlertRelaySettings)
