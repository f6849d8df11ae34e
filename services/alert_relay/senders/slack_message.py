"""A notification as blocks of Slack. Pure.

What comes from alerts is escaped as Slack's mrkdwn wants it, so that a label cannot mention people.
"""

from collections.abc import Mapping
from typing import Any

from services.alert_relay.notifications.notification import Notification, NotifiedAlert
from services.alert_relay.senders import plain_text
from services.alert_relay.senders.delivery import Delivery
from services.outbox.telegram.links import is_link

#: Limits of Slack: of a header, of a section's text, and of the blocks of a message.
LONGEST_HEADER, LONGEST_SECTION = 150, 3_000
MOST_ALERTS = 10
_LONGEST_VALUE = 600
_NOTE = "_Perhaps a repetition: the answer to the first attempt was lost._"
_SIGNS = {"firing": "🔥", "repeated": "🔥", "resolved": "✅"}
_LINKS = {
    "runbook_url": "Runbook",
    "runbook": "Runbook",
    "dashboard_url": "Dashboard",
    "dashboard": "Dashboard",
}
_TEXTS = ("summary", "message", "description")


def content(delivery: Delivery) -> Mapping[str, Any]:
    """Returns ``text``, which notifications show, and ``blocks``."""
    notification = delivery.notification
    title = plain_text.line(notification)
    blocks: list[Mapping[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:LONGEST_HEADER], "emoji": False}}
    ]
    if delivery.perhaps_repeated:
        blocks.append(_section(_NOTE))
    shown = notification.items[:MOST_ALERTS]
    blocks += [_section(_alert(each)) for each in shown]
    if not notification.items:
        blocks.append(_section(escaped(delivery.text)))
    if footer := _footer(notification, len(shown)):
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]})
    return {"text": escaped(title), "blocks": blocks}


def escaped(text: str) -> str:
    """Returns a text with the three characters escaped that have a meaning in mrkdwn's markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> Mapping[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, LONGEST_SECTION)}}


def _alert(each: NotifiedAlert) -> str:
    lines = [f"{_SIGNS[each.kind.value]} *{escaped(each.name or 'alert')}* {escaped(each.severity)}"]
    lines += [
        escaped(each.annotations[name][:_LONGEST_VALUE]) for name in _TEXTS if each.annotations.get(name)
    ]
    labels = " ".join(f"{name}={value}" for name, value in each.labels.items() if name != "alertname")
    if labels:
        lines.append(f"`{escaped(labels[:_LONGEST_VALUE].replace('`', chr(39)))}`")
    links = [
        f"<{escaped(url)}|{text}>"
        for text, url in [
            *((_LINKS[name], value) for name, value in each.annotations.items() if name in _LINKS),
            ("Source", each.generator_url),
        ]
        if is_link(url) and "|" not in url
    ]
    return "\n".join([*lines, *([" · ".join(links)] if links else [])])


def _footer(notification: Notification, shown: int) -> str:
    about = notification.incident
    parts = []
    more = len(notification.items) - shown + notification.still_firing
    if more > 0:
        parts.append(f"and {more} more")
    if about is not None and about.acknowledged_by and about.resolved_at is None:
        parts.append(f"👤 acknowledged by {escaped(about.acknowledged_by)}")
    if about is not None and about.resolved_by:
        parts.append(f"👤 resolved by {escaped(about.resolved_by)}")
    if about is not None and about.reopened:
        parts.append(f"🔁 reopened {about.reopened}x")
    return _cut(" · ".join(parts), 1_000)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
