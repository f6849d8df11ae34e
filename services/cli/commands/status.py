"""``cct status``: the health of every service in words."""

import typer

from services.cli import findings
from services.cli.command import command, root
from services.cli.exit_codes import ExitCode
from services.cli.session import Session
from services.client import Client
from services.client.call import Service
from services.client.errors import ClientError, ConfigurationError

#: The services that work together; the sandbox is only for trying out.
SERVICES = (Service.BRIDGE, Service.ALERT_RELAY, Service.MCP_HEALTH, Service.DASHBOARD)
_BAD = ("unhealthy", "critical", "not reached")


@command(root, "status", "cct status")
def status(session: Session) -> None:
    """Show each service's health in words. The exit code is 1 if one does not work."""
    with session.connect(patience=0) as client:
        rows = [_state(client, service) for service in SERVICES]
    if session.output.json:
        session.output.records(
            {"service": service, "status": state, "text": text} for service, state, text in rows
        )
    else:
        session.output.table(("service", "state", ""), rows)
    if any(state in _BAD for _, state, _ in rows):
        raise typer.Exit(ExitCode.NO)


def _state(client: Client, service: Service) -> tuple[str, str, str]:
    name = service.replace("_", "-")
    try:
        report = client.health(service)
    except ConfigurationError as error:
        return name, "not known", str(error)
    except ClientError as error:
        return name, "not reached", str(error)
    return name, report.status, findings.in_words(report)
