"""``python -m services.dashboard``: the dashboard alone, as in its container."""

from services.dashboard.app import create_app
from services.dashboard.settings import DashboardSettings
from services.kit.runner import main

main(create_app, DashboardSettings)
