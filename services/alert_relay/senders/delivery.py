"""What a channel gets of one message, and the results of attempts. Pure."""

from dataclasses import dataclass, replace

from services.alert_relay.notifications.notification import Notification
from services.kit.logs import redact
from services.outbox.messages import Outcome, Reason, Result

#: Characters of a detail.
LONGEST_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a channel sends it.

    Args:
        message_id: of the outbox; the same for every attempt.
        event_id: of the notification; the same for every target.
        address: of the target.
        notification: what it shows.
        text: the notification as plain text.
        accepted_at: when the notification was made, seconds since the epoch.
        started_at: of this attempt.
        edits: the channel's number of the message that it edits; None: it is a new one.
        reply_to: the channel's number of the message that it answers; None: it answers none.
        perhaps_repeated: whether an earlier attempt may have arrived.
    """

    message_id: str
    event_id: str
    address: str
    notification: Notification
    text: str
    accepted_at: float
    started_at: float
    edits: int | None = None
    reply_to: int | None = None
    perhaps_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended.

    Args:
        outcome: whether it was sent.
        reason: why not.
        detail: the channel's answer, or what went wrong, for people.
        number: the channel's number of the message, by which it can be edited and answered.
        retry_after: seconds that the channel asks to wait.
        repeatable: whether the same call again makes no difference to the recipient.
    """

    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""
    number: int | None = None
    retry_after: float | None = None
    repeatable: bool = False

    def result(self, started: float, finished: float) -> Result:
        return Result(
            self.outcome,
            self.reason,
            started,
            finished,
            message_id=self.number,
            retry_after=self.retry_after,
            # PostgreSQL stores no NUL.
            detail=redact(self.detail).replace("\0", "")[:LONGEST_DETAIL],
            repeatable=self.repeatable,
        )


def without(ended: Ending, *secrets: str) -> Ending:
    """Covers secrets in the detail: a server may answer with what it was sent."""
    detail = ended.detail
    for secret in filter(None, secrets):
        detail = detail.replace(secret, "…")
    return replace(ended, detail=detail)


def sent(detail: str, number: int | None = None) -> Ending:
    """The channel has taken the message; ``detail`` is its receipt."""
    return Ending(Outcome.SENT, detail=detail, number=number)


def refused(reason: Reason, detail: str) -> Ending:
    """The channel has certainly not taken the message."""
    return Ending(Outcome.NOT_SENT, reason, detail)


def unknown(reason: Reason, detail: str) -> Ending:
    """The message left, and no answer says whether it arrived."""
    return Ending(Outcome.UNKNOWN, reason, detail)
