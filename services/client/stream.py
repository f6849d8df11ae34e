"""The bridge's stream of changes (server-sent events), resumed after every cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from pydantic import BaseModel, ValidationError

from services.client import call, exchange
from services.client.call import Call
from services.client.errors import ClientError, NoAnswerError, NotReachedError, UnreadableAnswerError
from services.client.site import Site
from services.client.steps import Emit, Flow, GetSite, Head, Iteration, Pause, Read
from services.contracts.messages import MessageState
from services.contracts.tracking import StreamApproval, StreamChange, StreamNote

#: The stream sends a sign of life every 15 s by default; after this many seconds without one it is cut.
SILENCE_SECONDS = 90.0
#: Largest server-sent event that is read, bytes.
LARGEST_EVENT = 1_048_576
_FIRST_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class StreamItem:
    """What the stream yields.

    Args:
        kind: ``ready``, ``change``, ``approval``, ``gap`` as the bridge sends them; ``lost``: the connection
            was cut, and the stream connects again.
        id: position, for ``after``.
        change: the message and its new state, if the kind is ``change``.
        approval: the question and its new state, if the kind is ``approval``.
        detail: what happened, if it is another kind.
    """

    kind: str
    id: str = ""
    change: StreamChange | None = None
    detail: str = ""
    approval: StreamApproval | None = None


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event as it was sent; a comment with a new id has no data."""

    event: str
    data: str
    id: str | None
    retry: int | None


@dataclass(slots=True)
class EventParser:
    """Cuts bytes into server-sent events (WHATWG HTML, 9.2.6), however they are split."""

    _rest: bytes = b""
    _lines: list[str] = field(default_factory=list)
    _size: int = 0

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Yields the events that end in these bytes.

        Raises:
            UnreadableAnswerError: an event is too large.
        """
        # A CR at the end may be the first half of CR LF: it waits for the next bytes.
        text = (self._rest + data).replace(b"\r\n", b"\n")
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, last = text.removesuffix(b"\r").replace(b"\r", b"\n").split(b"\n")
        self._rest = last + held
        for line in lines:
            if line:
                self._take(line)
            elif self._lines:
                yield self._event()
        if len(self._rest) > LARGEST_EVENT:
            raise UnreadableAnswerError("The stream sent an event that is too large.")

    def _take(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > LARGEST_EVENT:
            raise UnreadableAnswerError("The stream sent an event that is too large.")
        self._lines.append(line.decode("utf-8", "replace"))

    def _event(self) -> ServerSentEvent:
        fields: dict[str, list[str]] = {}
        for line in self._lines:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        self._lines, self._size = [], 0
        retry = fields.get("retry", [""])[-1]
        return ServerSentEvent(
            event=fields.get("event", ["message"])[-1],
            data="\n".join(fields.get("data", [])),
            id=fields["id"][-1] if "id" in fields else None,
            retry=int(retry) if retry.isascii() and retry.isdigit() and len(retry) < len("1000000") else None,
        )


class _Anything(BaseModel):
    """The model of a call whose answer is a stream."""


def follow(
    *,
    status: Sequence[MessageState] = (),
    type: Sequence[str] = (),  # noqa: A002 - the API's name
    chat_id: int | None = None,
    bot: str | None = None,
    correlation_id: str | None = None,
    after: str | None = None,
) -> Iteration[StreamItem]:
    """Yields every change of the state of messages and questions, without end.

    Args:
        status: only changes of messages into one of these states.
        type: only of one of these event types.
        chat_id: only of this chat.
        bot: only of this bot.
        correlation_id: only of this correlation id.
        after: ``id`` of the last item that you have; None: from now on.

    Raises:
        ClientError: the first connection failed, or the bridge refuses the request.
    """
    query: call.Query = {
        "status": status,
        "type": type,
        "chat_id": chat_id,
        "bot": bot,
        "correlation_id": correlation_id,
    }
    wanted = call.get(_Anything, "/api/v1/stream", query, waits=SILENCE_SECONDS)
    site: Site = yield GetSite()
    place = _Place(after)
    while True:
        yield from _connect(wanted, site, place)
        try:
            yield from _read(place)
            reason = "The bridge ended the stream."
        except (NotReachedError, NoAnswerError) as error:
            reason = str(error)
        yield Emit(StreamItem("lost", place.id or "", detail=reason))
        yield Pause(place.pause)


@dataclass(slots=True)
class _Place:
    """The position in the stream, and seconds to wait before another connection."""

    id: str | None
    pause: float = _FIRST_PAUSE
    #: Seconds within which a connection must succeed; endless after the first.
    patience: float | None = None


def _connect(wanted: Call[_Anything], site: Site, place: _Place) -> Flow[None]:
    """Opens the stream; after the first time it tries until it succeeds or is refused."""
    retries = site.retries if place.patience is None else replace(site.retries, patience=place.patience)
    started, tries = site.clock(), 0
    while True:
        tries += 1
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": place.id} if place.id else {})
        try:
            head: Head = yield site.open(wanted, **headers)
            if exchange.is_success(head.status):
                place.patience = inf
                return
            body = yield from exchange.whole(wanted)
            raise exchange.failure(head, body)
        except ClientError as error:
            pause = retries.pause(
                error,
                repeatable=True,
                tries=tries,
                elapsed=site.clock() - started,
                jitter=site.random(),
            )
            if pause is None:
                raise
        yield Pause(pause)


def _read(place: _Place) -> Iteration[StreamItem]:
    """Emits what the open stream sends, until it ends."""
    parser = EventParser()
    while data := (yield Read()):
        for event in parser.feed(data):
            place.id = event.id or place.id
            place.pause = place.pause if event.retry is None else event.retry / 1000
            item = _item(event)
            if item is not None:
                yield Emit(item)


def _item(event: ServerSentEvent) -> StreamItem | None:
    """The item of an event; None for kinds that this version does not know, and those that only end it."""
    try:
        if event.event == "change":
            return StreamItem("change", event.id or "", StreamChange.model_validate_json(event.data))
        if event.event == "approval":
            question = StreamApproval.model_validate_json(event.data)
            return StreamItem("approval", event.id or "", approval=question)
        if event.event in ("ready", "gap"):
            note = StreamNote.model_validate_json(event.data)
            return StreamItem(event.event, event.id or "", detail=note.detail)
    except ValidationError:
        raise UnreadableAnswerError(
            "The stream sent an event that this version of the client does not read."
        ) from None
    return None
