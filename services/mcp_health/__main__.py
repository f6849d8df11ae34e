"""``python -m services.mcp_health``: mcp-health alone, as in its container."""

from services.kit.runner import main
from services.mcp_health.app import create_app
from services.mcp_health.settings import McpHealthSettings

if __name__ == "__main__":
    main(create_app, McpHealthSettings)
