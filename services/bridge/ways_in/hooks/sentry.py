"""Sentry's webhooks of an integration (docs.sentry.io, "Integration platform, webhooks"). Pure."""

from typing import Annotated, Any

from services.bridge.ways_in.hooks.payload import Part, Payload, Words, event, words


class _Project(Payload):
    slug: Words = ""


class _Thing(Payload):
    """An issue, an event of one, or the alert of a metric."""

    title: Words = ""
    culprit: Words = ""
    level: Words = ""
    web_url: Words = ""
    permalink: Words = ""
    shortId: Words = ""  # noqa: N815 - Sentry's name
    project: Annotated[_Project, Part] = _Project()


class _Data(Payload):
    issue: Annotated[_Thing, Part] = _Thing()
    event: Annotated[_Thing, Part] = _Thing()
    error: Annotated[_Thing, Part] = _Thing()
    triggered_rule: Words = ""
    description_title: Words = ""
    description_text: Words = ""
    web_url: Words = ""


class _Hook(Payload):
    action: Words = ""
    data: Annotated[_Data, Part] = _Data()


_LEVELS = {"fatal": "critical", "error": "high", "warning": "medium"}
_ALERTS = {"critical": "critical", "warning": "medium"}


def read(body: bytes, kind: str) -> dict[str, Any]:
    """The event of a webhook.

    Args:
        body: JSON.
        kind: of ``Sentry-Hook-Resource``.
    """
    hook = _Hook.model_validate_json(body)
    data = hook.data
    match kind:
        case "issue":
            return _problem(data.issue, hook.action, "")
        case "event_alert":
            return _problem(data.event, "", data.triggered_rule)
        case "error":
            return _problem(data.error, hook.action, "")
        case "metric_alert":
            bad = _ALERTS.get(hook.action)
            return event(
                "alert_notification" if bad else "status_change",
                f"Sentry: {data.description_title or 'metric alert'}",
                data.description_text,
                url=data.web_url,
                severity=bad or "low",
            )
        case _:
            return event("info_notification", f"Sentry: {words(kind) or 'webhook'} {words(hook.action)}")


def _problem(thing: _Thing, action: str, rule: str) -> dict[str, Any]:
    solved = action in ("resolved", "ignored", "archived")
    name = " ".join(part for part in (thing.shortId, words(action)) if part)
    where = thing.project.slug
    lines = (thing.culprit, f"Rule: {rule}" if rule else "", f"Project: {where}" if where else "")
    return event(
        "status_change" if solved else "alert_notification",
        f"{name or 'Sentry'}: {thing.title or 'issue'}",
        *lines,
        url=thing.web_url or thing.permalink,
        severity="low" if solved else _LEVELS.get(thing.level, "low"),
    )
