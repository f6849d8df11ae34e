"""A notification as a mail: text and HTML, in one thread for each incident. Pure."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from jinja2 import Environment

from services.alert_relay.channels.mail_server import Mailbox
from services.alert_relay.notifications.notification import Notification, NotificationKind, NotifiedAlert
from services.alert_relay.senders import plain_text
from services.alert_relay.senders.delivery import Delivery
from services.outbox.telegram.links import is_link

#: Alerts, labels and annotations that the HTML part shows; the text part has what fits in a message.
MOST_ALERTS = 40
MOST_PAIRS = 30
LONGEST_VALUE = 1_000
_NOTE = "This mail is perhaps a repetition: the answer to the first attempt was lost."
_COLOURS = {
    NotificationKind.FIRING: "#b42318",
    NotificationKind.REPEATED: "#b42318",
    NotificationKind.RESOLVED: "#1e7b34",
}

# Escapes whatever it is given: labels and annotations are anybody's text.
_HTML = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<!doctype html>
<html><body style="font-family: sans-serif; color: #1a1a1a">
{% if note %}<p><em>{{ note }}</em></p>{% endif %}
<h2 style="font-size: 1.1em">{{ title }}</h2>
{% for alert in alerts %}
<div style="border-left: 4px solid {{ alert.colour }}; padding-left: 12px; margin: 12px 0">
<p><strong>{{ alert.name }}</strong> {{ alert.state }} since {{ alert.since }}\
{% if alert.ended %} until {{ alert.ended }}{% endif %}</p>
{% for name, value in alert.annotations %}
{% if value.is_link %}<p><a href="{{ value.text }}">{{ name }}</a></p>
{% else %}<p>{{ name }}: {{ value.text }}</p>
{% endif %}
{% endfor %}
<p style="color: #555">{% for name, value in alert.labels %}{{ name }}={{ value }} {% endfor %}</p>
</div>
{% endfor %}
<pre style="white-space: pre-wrap; font-family: inherit; color: #555">{{ text }}</pre>
</body></html>
"""
)


def message(delivery: Delivery, sender: Mailbox) -> EmailMessage:
    """Returns the mail of one message.

    Its Message-ID comes from the notification, so that a repetition has the same one; news of an incident
    answers the incident's first mail.
    """
    notification, domain = delivery.notification, sender.domain
    mail = EmailMessage(policy=SMTP)
    mail["From"] = str(sender)
    mail["To"] = delivery.address
    mail["Subject"] = plain_text.line(notification)
    mail["Date"] = format_datetime(datetime.fromtimestamp(delivery.accepted_at, UTC))
    mail["Message-ID"] = f"<{delivery.event_id}@{domain}>"
    if (first := _first(notification)) is not None:
        mail["In-Reply-To"] = mail["References"] = f"<{first}@{domain}>"
    # So that holiday notices and ticket systems do not answer.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["Precedence"] = "bulk"
    mail["List-Id"] = f"CCTelegram alerts <alerts.{domain}>"
    note = f"{_NOTE}\n\n" if delivery.perhaps_repeated else ""
    mail.set_content(f"{note}{delivery.text}\n")
    mail.add_alternative(_html(delivery), subtype="html")
    return mail


def _first(notification: Notification) -> str | None:
    """The event of the mail that this one answers; the mails of a storm share its id."""
    if notification.storm is not None:
        return notification.storm.id
    return (notification.incident.first_event or None) if notification.incident is not None else None


def _html(delivery: Delivery) -> str:
    return _HTML.render(
        note=_NOTE if delivery.perhaps_repeated else "",
        title=plain_text.line(delivery.notification),
        alerts=[_alert(each) for each in delivery.notification.items[:MOST_ALERTS]],
        text=delivery.text,
    )


def _alert(each: NotifiedAlert) -> dict[str, object]:
    annotations = list(each.annotations.items())[:MOST_PAIRS]
    return {
        "name": each.name or "alert",
        "state": each.kind.value,
        "colour": _COLOURS[each.kind],
        "since": _time(each.since),
        "ended": "" if each.ended_at is None else _time(each.ended_at),
        "annotations": [
            (name, {"text": value[:LONGEST_VALUE], "is_link": is_link(value)}) for name, value in annotations
        ],
        "labels": [(name, value[:LONGEST_VALUE]) for name, value in list(each.labels.items())[:MOST_PAIRS]],
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
