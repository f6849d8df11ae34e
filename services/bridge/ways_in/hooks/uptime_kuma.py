"""Uptime Kuma's webhook notification, preset JSON. Pure."""

from typing import Annotated, Any

from services.bridge.ways_in.hooks.payload import Count, Part, Payload, Words, event


class _Heartbeat(Payload):
    status: Count = None
    msg: Words = ""


class _Monitor(Payload):
    name: Words = ""
    url: Words = ""
    hostname: Words = ""


class _Hook(Payload):
    msg: Words = ""
    heartbeat: Annotated[_Heartbeat, Part] = _Heartbeat()
    monitor: Annotated[_Monitor, Part] = _Monitor()


_STATES = {0: "down", 1: "up", 2: "pending", 3: "in maintenance"}


def read(body: bytes, kind: str) -> dict[str, Any]:  # noqa: ARG001 - it has one kind
    """The event of a monitor that changed, or of a test, which has a text alone."""
    hook = _Hook.model_validate_json(body)
    state = _STATES.get(-1 if hook.heartbeat.status is None else hook.heartbeat.status)
    if state is None:
        return event("info_notification", hook.msg or "Uptime Kuma")
    down = state == "down"
    return event(
        "alert_notification" if down else "status_change",
        f"{hook.monitor.name or 'A monitor'} is {state}",
        hook.heartbeat.msg or hook.msg,
        url=hook.monitor.url,
        severity="high" if down else "low",
    )
