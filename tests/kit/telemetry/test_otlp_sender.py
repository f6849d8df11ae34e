"""The way to the receiver: what is sent again, what is let go, and what the variables change."""

import asyncio
import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from services.kit.settings import ServiceSettings
from services.kit.telemetry import otlp_encoder, otlp_sender
from services.kit.telemetry.otlp_sender import Destination, Lost, SpanCounts, SpanSender
from services.kit.telemetry.spans import FinishedSpan, TraceContext
from tests.servers import until
from tests.told import decoded

SCOPE = ("cctelegram", "1")
TRACE = TraceContext(0xABC << 64 | 7, 11, sampled=True)
SPAN = otlp_encoder.encode(FinishedSpan("accept", TRACE, None, 1.0, 2.0))


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Got:
    at: float
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers as it is told, the last answer for ever."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answers: list[Answer] = [Answer()]
        self.got: list[Got] = []
        self._arrived = Condition()

    def take(self, got: Got) -> Answer:
        with self._arrived:
            self.got.append(got)
            self._arrived.notify_all()
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def wait(self, count: int) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.got) >= count, 30)

    def names(self) -> list[str]:
        return [span.name for got in self.got for span in decoded(got.body)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = made.take(Got(time.monotonic(), self.path, headers, body))
            self.send_response(answer.status)
            for name, value in (answer.headers | {"Content-Length": str(len(answer.body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Receiver(server.server_port)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@dataclass
class Sending:
    sender: SpanSender
    registry: CollectorRegistry

    def add(self, count: int = 1) -> None:
        self.sender.add(SCOPE, SPAN * count, count)

    @property
    def sent(self) -> float | None:
        return self.registry.get_sample_value("trace_spans_sent_total")

    def lost(self, reason: Lost) -> float | None:
        return self.registry.get_sample_value("trace_spans_lost_total", {"reason": reason.value})


Start = Callable[..., Sending]


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(otlp_sender, "SEND_EVERY_SECONDS", 0.01)
    started: list[Sending] = []

    def begin(**variables: str) -> Sending:
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
        to = Destination.of(ServiceSettings())
        assert to is not None
        registry = CollectorRegistry()
        made = Sending(SpanSender(to, otlp_encoder.resource({}), SpanCounts(registry)), registry)
        started.append(made)
        return made

    yield begin
    for one in started:
        one.sender.close()


def test_what_waits_is_sent_at_the_end(receiver: Receiver, start: Start) -> None:
    sending = start(ENDPOINT=f"{receiver.url}/")
    sending.add(2)
    sending.add()
    sending.sender.close()
    assert receiver.names() == ["accept"] * 3
    assert receiver.got[0].path == "/v1/traces"
    assert receiver.got[0].headers["content-type"] == "application/x-protobuf"
    assert sending.sent == 3


def test_a_flush_ends_when_all_of_before_is_there(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_sender, "SEND_EVERY_SECONDS", 3600)
    sending = start(ENDPOINT=receiver.url)
    for number in range(1, 4):
        sending.add()
        sending.sender.add_later(SCOPE, lambda: SPAN, 1)
        assert sending.sender.flush(30)
        assert len(receiver.names()) == 2 * number


def test_a_flush_waits_for_no_receiver_that_is_away(start: Start) -> None:
    sending = start(ENDPOINT="http://127.0.0.1:9")
    sending.add()
    assert not sending.sender.flush(0.01)


def test_spans_that_may_wait_are_written_when_they_are_many_or_leave(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_sender, "SEND_EVERY_SECONDS", 3600)
    sending = start(ENDPOINT=receiver.url)
    written: list[int] = []

    def write(number: int) -> bytes:
        written.append(number)
        return SPAN * 2

    for number in range(otlp_sender.MANY // 2):
        assert written == []
        sending.sender.add_later(SCOPE, partial(write, number), 2)
    assert written == [*range(otlp_sender.MANY // 2)]
    sending.sender.add_later(SCOPE, partial(write, -1), 2)
    sending.sender.close()
    assert written[-1] == -1
    assert sending.sent == len(receiver.names()) == otlp_sender.MANY + 2


def test_spans_that_cannot_be_written_cost_the_others_nothing(receiver: Receiver, start: Start) -> None:
    sending = start(ENDPOINT=receiver.url)
    sending.sender.add_later(SCOPE, lambda: b"" + bytes([1000]), 3)
    sending.sender.add_later(SCOPE, lambda: SPAN, 1)
    sending.sender.close()
    assert (sending.sent, sending.lost(Lost.NOT_WRITTEN)) == (1, 3)


def test_a_receiver_that_is_away_holds_up_nobody_at_the_end(start: Start) -> None:
    sending = start(ENDPOINT="http://127.0.0.1:9")
    sending.add(5)
    sending.sender.close()
    assert (sending.sent, sending.lost(Lost.NOT_TAKEN)) == (0, 5)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_receiver_is_asked_again(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(otlp_sender, "LONGEST_PAUSE_SECONDS", 0.01)
    receiver.answers = [Answer(status), Answer(status), Answer()]
    sending = start(ENDPOINT=receiver.url)
    sending.add()
    receiver.wait(3)
    sending.sender.close()
    assert receiver.names() == ["accept"] * 3
    assert sending.sent == 1


@pytest.mark.parametrize("said", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_it_is_asked_again_when_it_says(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    monkeypatch.setattr(otlp_sender, "LONGEST_PAUSE_SECONDS", 0.01)
    receiver.answers = [Answer(429, {"Retry-After": said()}), Answer()]
    sending = start(ENDPOINT=receiver.url)
    sending.add()
    receiver.wait(2)
    first, second = receiver.got
    # The date has whole seconds: of the two, one may be over already.
    assert second.at - first.at > 0.9
    sending.sender.close()
    assert sending.sent == 1


async def test_a_receiver_that_wants_to_be_left_alone_for_long_loses_spans_and_is_left_alone(
    receiver: Receiver, start: Start
) -> None:
    receiver.answers = [Answer(503, {"Retry-After": "3600"})]
    sending = start(ENDPOINT=receiver.url)
    sending.add(3)
    receiver.wait(1)

    async def given_up() -> bool:
        return sending.lost(Lost.NOT_TAKEN) == 3

    await until(given_up)
    sending.add(2)
    await asyncio.to_thread(sending.sender.close)
    assert len(receiver.got) <= 2  # one last try at the end
    assert (sending.sent, sending.lost(Lost.NOT_TAKEN)) == (0, 5)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_what_is_refused_for_good_is_let_go_and_counted(
    receiver: Receiver, start: Start, status: int
) -> None:
    receiver.answers = [Answer(status), Answer()]
    sending = start(ENDPOINT=receiver.url)
    sending.add(2)
    receiver.wait(1)
    sending.add(3)
    sending.sender.close()
    assert len(receiver.got) == 2
    assert (sending.sent, sending.lost(Lost.REFUSED)) == (3, 2)


def test_what_the_receiver_took_in_part_is_counted_in_part(receiver: Receiver, start: Start) -> None:
    partly = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=2))
    receiver.answers = [Answer(body=partly.SerializeToString())]
    sending = start(ENDPOINT=receiver.url)
    sending.add(5)
    sending.sender.close()
    assert (sending.sent, sending.lost(Lost.REFUSED)) == (3, 2)


def test_more_than_the_queue_holds_is_let_go_and_counted(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_sender, "SEND_EVERY_SECONDS", 60)
    monkeypatch.setattr(otlp_sender, "LARGEST_QUEUE_BYTES", 3 * len(SPAN))
    sending = start(ENDPOINT=receiver.url)
    for _ in range(5):
        sending.add()
    sending.sender.close()
    assert (sending.sent, sending.lost(Lost.QUEUE_FULL)) == (3, 2)


def test_a_long_queue_is_sent_in_several_requests_at_once(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_sender, "SEND_EVERY_SECONDS", 60)
    monkeypatch.setattr(otlp_sender, "LARGEST_BODY_BYTES", 2 * len(SPAN))
    sending = start(ENDPOINT=receiver.url)
    for _ in range(5):
        sending.add()
    receiver.wait(2)
    sending.sender.close()
    assert len(receiver.got) >= 3
    assert max(len(decoded(got.body)) for got in receiver.got) == 2
    assert sending.sent == 5


def test_headers_compression_and_the_address_come_from_the_standard_s_variables(
    receiver: Receiver, start: Start
) -> None:
    sending = start(
        ENDPOINT="http://127.0.0.1:9",
        TRACES_ENDPOINT=f"{receiver.url}/otlp/tenant",
        HEADERS="x-key=general",
        TRACES_HEADERS="authorization=Basic%20c2VjcmV0, x-tenant = a%2Cb",
        COMPRESSION="gzip",
    )
    sending.add()
    sending.sender.close()
    (got,) = receiver.got
    assert got.path == "/otlp/tenant"
    assert (got.headers["authorization"], got.headers["x-tenant"]) == ("Basic c2VjcmV0", "a,b")
    assert "x-key" not in got.headers
    assert got.headers["content-encoding"] == "gzip"
    assert [span.name for span in decoded(gzip.decompress(got.body))] == ["accept"]


def test_what_is_set_for_traces_goes_before_what_is_set_for_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def to(**variables: str) -> Destination | None:
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
        return Destination.of(ServiceSettings())

    assert to() is None
    general = to(ENDPOINT="http://c:4318", TIMEOUT="2000", COMPRESSION="gzip", HEADERS="a=1")
    assert general == Destination("http://c:4318/v1/traces", {"a": "1"}, 2.0, compress=True)
    own = to(
        TRACES_ENDPOINT="http://t/x", TRACES_TIMEOUT="500", TRACES_COMPRESSION="none", TRACES_HEADERS="b=2"
    )
    assert own == Destination("http://t/x", {"b": "2"}, 0.5, compress=False)


def test_a_receiver_that_does_not_answer_is_given_up_after_the_timeout(start: Start) -> None:
    begun = time.monotonic()
    with silent() as url:
        sending = start(ENDPOINT=url, TIMEOUT="200")
        sending.add()
        sending.sender.close()
    assert sending.lost(Lost.NOT_TAKEN) == 1
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "headers", ["hunter2secret", "=hunter2secret", "a=1,hunter2secret", "hunter2secret="]
)
def test_headers_that_are_none_stop_the_start_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, headers: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    with pytest.raises(ValidationError, match="name=value,name=value") as refused:
        ServiceSettings()
    assert "hunter2secret" not in str(refused.value)


def test_a_key_among_the_headers_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2secret")
    settings = ServiceSettings()
    assert "hunter2secret" not in f"{settings!r} {Destination.of(settings)!r}"
