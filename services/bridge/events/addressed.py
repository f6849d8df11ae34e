"""Addresses a request: its events with their recipients, before and after names of chats are found. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from services.bridge.bots import DEFAULT
from services.bridge.chats.names import Found, NamedChat
from services.bridge.routes.destinations import NO_CHAT, Destination, destinations, named
from services.bridge.routes.routes import Recipient, Routes
from services.contracts.events import NewEvent
from services.kit.errors import Problem, invalid_input, invalid_json

LARGEST_BATCH = 500

_one = TypeAdapter(NewEvent)
_many = TypeAdapter(list[NewEvent])

#: The position of an event in a request: empty for a single one, else its index in the list.
Place: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AddressedEvent:
    """An event with its recipients.

    Args:
        event: as it was posted.
        place: where it stands in the request.
        recipients: at least one.
    """

    event: NewEvent
    place: Place
    recipients: Sequence[Recipient]

    @property
    def bot(self) -> str:
        """The bot that sends it, where a recipient names none."""
        return self.event.bot or DEFAULT

    def destinations(self, found: Found) -> list[Destination]:
        """The recipients with the ids of their chats.

        Args:
            found: the ids of the chats that are named by a text.

        Raises:
            Problem: as of :func:`services.bridge.routes.destinations.destinations`.
        """
        is_list = isinstance(self.event.chat_id, list)
        return destinations(self.recipients, self.bot, found, [*self.place, "chat_id"], is_list=is_list)


@dataclass(frozen=True, slots=True)
class AddressedRequest:
    """A request whose events are read and have recipients.

    Args:
        body: JSON.
        events: in their order.
        is_list: whether the request is a list of events.
    """

    body: bytes
    events: Sequence[AddressedEvent]
    is_list: bool

    @property
    def named(self) -> set[NamedChat]:
        """The chats that are named by a text, whose ids are to be found."""
        return set[NamedChat]().union(*(named(one.recipients, one.bot) for one in self.events))


def parse(body: bytes) -> tuple[list[NewEvent], bool]:
    """The events of a request body, and whether the body is a list.

    Raises:
        Problem: 422, one entry per invalid field.
    """
    is_list = body.lstrip()[:1] == b"["
    try:
        if not is_list:
            return [_one.validate_json(body)], False
        events = _many.validate_json(body)
    except ValidationError as error:
        raise invalid_json(error, list[NewEvent] if is_list else NewEvent, body) from None
    if not 1 <= len(events) <= LARGEST_BATCH:
        text = f"a list has 1 to {LARGEST_BATCH} events, this one {len(events)}"
        raise invalid_input([{"loc": ["body"], "msg": text}])
    return events, True


def address(body: bytes, routes: Routes) -> AddressedRequest:
    """Reads a request and finds the recipients of each event.

    Args:
        body: one event or a list of events, JSON.
        routes: name the recipients of an event that names none.

    Raises:
        Problem: 422, one entry per invalid field; 503, an event has no recipient.
    """
    events, is_list = parse(body)
    places: list[Place] = [(number,) if is_list else () for number in range(len(events))]
    addressed = [
        AddressedEvent(event, place, _recipients(event, place, routes))
        for event, place in zip(events, places, strict=True)
    ]
    return AddressedRequest(body, addressed, is_list)


def _recipients(event: NewEvent, place: Place, routes: Routes) -> list[Recipient]:
    if event.bot is not None and event.bot not in routes.bots:
        names = ", ".join(routes.bots)
        raise invalid_input([{"loc": [*place, "bot"], "msg": f"no bot has this name; there are {names}"}])
    found = routes.recipients(event)
    if not found:
        raise no_chat()
    return found


def no_chat() -> Problem:
    """The answer to a request that names no chat while its bot has none; it may be repeated."""
    text = (
        "No chat is set: write the command that the log of the bridge shows to the bot, or set"
        " TELEGRAM_CHAT_IDS; or name a chat in chat_id."
    )
    return Problem(NO_CHAT, "No chat yet", text, headers={"Retry-After": "5"})
