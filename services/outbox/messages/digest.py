"""The values of digests: messages that wait for a while, and are then sent as one. Pure."""

from dataclasses import dataclass

#: ``due_at`` of a message that waits in a digest, the year 3000: no claim takes it. Its ``waits_from`` is the
#: end of the digest's window; once it is combined into the digest's message, the same far time.
IN_DIGEST = 32_503_680_000.0
#: Messages of one digest; the next one opens another.
MOST_MEMBERS = 500


@dataclass(frozen=True, slots=True)
class DigestKey:
    """Messages of one client with an equal key wait together, for each topic of a chat.

    Args:
        name: the client's own.
        window: seconds that the first message waits.
    """

    name: str
    window: float
