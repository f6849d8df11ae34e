"""The queue of spans over HTTP: what is sent again, what is lost and counted, and how it ends."""

import asyncio
import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from threading import enumerate as enumerate_threads

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from prometheus_client import CollectorRegistry

from services.kit.settings import ServiceSettings
from services.kit.telemetry import span_queue
from services.kit.telemetry.exporter import Destination, LossReason
from services.kit.telemetry.otlp_http import HttpExporter
from services.kit.telemetry.span_queue import SpanCounts, SpanQueue
from services.kit.telemetry.span_writer import SpanWriter
from services.kit.telemetry.spans import TraceContext
from tests.servers import until
from tests.span_recorder import decoded

TRACE = TraceContext(0xABC << 64 | 7, 11, sampled=True)


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
    """Gives the answers in their order, and then the last one again."""

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
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@dataclass
class Sending:
    queue: SpanQueue
    registry: CollectorRegistry

    def add(self, count: int = 1) -> None:
        def write(writer: SpanWriter) -> None:
            for _ in range(count):
                writer.add("accept", {}, TRACE, 1.0, 2.0)

        self.queue.add(write, count)

    @property
    def sent(self) -> float | None:
        return self.registry.get_sample_value("trace_spans_sent_total")

    def lost(self, reason: LossReason) -> float | None:
        return self.registry.get_sample_value("trace_spans_lost_total", {"reason": reason.value})


Start = Callable[..., Sending]


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(span_queue, "EXPORT_EVERY_SECONDS", 0.01)
    started: list[Sending] = []

    def begin(**variables: str) -> Sending:
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
        exporter, registry = HttpExporter(Destination.of(ServiceSettings())), CollectorRegistry()
        queue = SpanQueue(exporter, SpanWriter({}, "cctelegram", "1"), SpanCounts(registry))
        started.append(Sending(queue, registry))
        return started[-1]

    yield begin
    for one in started:
        one.queue.close()


def test_what_is_queued_is_sent_at_the_end(receiver: Receiver, start: Start) -> None:
    sending = start(ENDPOINT=f"{receiver.url}/")
    sending.add(2)
    sending.add()
    sending.queue.close()
    assert receiver.names() == ["accept"] * 3
    assert receiver.got[0].path == "/v1/traces"
    assert receiver.got[0].headers["content-type"] == "application/x-protobuf"
    assert sending.sent == 3


def test_a_flush_ends_when_everything_from_before_has_arrived(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_queue, "EXPORT_EVERY_SECONDS", 3600)
    sending = start(ENDPOINT=receiver.url)
    for number in range(1, 4):
        sending.add()
        sending.add()
        assert sending.queue.flush(30)
        assert len(receiver.names()) == 2 * number


def test_a_flush_waits_for_no_receiver_that_is_away(start: Start) -> None:
    sending = start(ENDPOINT="http://127.0.0.1:9")
    sending.add()
    assert not sending.queue.flush(0.01)


def test_spans_that_cannot_be_written_cost_the_others_nothing(receiver: Receiver, start: Start) -> None:
    sending = start(ENDPOINT=receiver.url)

    def fail(writer: SpanWriter) -> None:
        writer.add("accept", {}, TRACE, 1.0, 2.0)
        writer.add("accept", {"too large": 2**64}, TRACE, 1.0, 2.0)

    sending.queue.add(fail, 3)
    sending.add()
    sending.queue.close()
    assert receiver.names() == ["accept"] * 2
    assert (sending.sent, sending.lost(LossReason.NOT_WRITTEN)) == (2, 2)


def exporting() -> set[Thread]:
    """The running threads of queues; one runs on after `close` if its export did not end in time."""
    return {thread for thread in enumerate_threads() if thread.name == "otlp"}


def test_a_receiver_that_is_away_delays_no_shutdown(start: Start) -> None:
    before = exporting()
    sending = start(ENDPOINT="http://127.0.0.1:9")
    sending.add(5)
    sending.queue.close()
    assert exporting() == before
    assert (sending.sent, sending.lost(LossReason.NOT_TAKEN)) == (0, 5)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_request_is_repeated_while_the_receiver_is_busy(
    receiver: Receiver, start: Start, status: int
) -> None:
    busy = Answer(status, {"Retry-After": "0"})
    receiver.answers = [busy, busy, Answer()]
    sending = start(ENDPOINT=receiver.url)
    sending.add()
    receiver.wait(3)
    sending.queue.close()
    assert receiver.names() == ["accept"] * 3
    assert sending.sent == 1


@pytest.mark.parametrize("header", [lambda: "2", lambda: formatdate(time.time() + 3, usegmt=True)])
def test_it_is_repeated_when_the_receiver_says(
    receiver: Receiver, start: Start, header: Callable[[], str]
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": header()}), Answer()]
    sending = start(ENDPOINT=receiver.url)
    sending.add()
    receiver.wait(2)
    first, second = receiver.got
    # The date has whole seconds: of the three, one may be over already.
    assert second.at - first.at > 1.9
    sending.queue.close()
    assert sending.sent == 1


async def test_a_receiver_that_is_busy_for_longer_than_the_timeout_loses_spans(
    receiver: Receiver, start: Start
) -> None:
    receiver.answers = [Answer(503, {"Retry-After": "3600"})]
    sending = start(ENDPOINT=receiver.url)
    sending.add(3)
    receiver.wait(1)

    async def given_up() -> bool:
        return sending.lost(LossReason.NOT_TAKEN) == 3

    await until(given_up)
    sending.add(2)
    await asyncio.to_thread(sending.queue.close)
    assert len(receiver.got) <= 2  # one last try at the end
    assert (sending.sent, sending.lost(LossReason.NOT_TAKEN)) == (0, 5)


def test_a_shutdown_ends_the_wait_for_a_busy_receiver(receiver: Receiver, start: Start) -> None:
    receiver.answers = [Answer(503, {"Retry-After": "60"})]
    before = exporting()
    sending = start(ENDPOINT=receiver.url, TIMEOUT="120000")
    sending.add(3)
    receiver.wait(1)
    sending.queue.close()
    assert exporting() == before
    assert len(receiver.got) <= 2
    assert (sending.sent, sending.lost(LossReason.NOT_TAKEN)) == (0, 3)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_what_is_refused_is_dropped_and_counted(receiver: Receiver, start: Start, status: int) -> None:
    receiver.answers = [Answer(status), Answer()]
    sending = start(ENDPOINT=receiver.url)
    sending.add(2)
    receiver.wait(1)
    sending.add(3)
    sending.queue.close()
    assert len(receiver.got) == 2
    assert (sending.sent, sending.lost(LossReason.REFUSED)) == (3, 2)


@pytest.mark.parametrize(("rejected", "lost"), [(2, 2), (7, 5), (-1, 0)])
def test_what_the_receiver_rejects_of_a_request_is_counted(
    receiver: Receiver, start: Start, rejected: int, lost: int
) -> None:
    partly = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=rejected))
    receiver.answers = [Answer(body=partly.SerializeToString())]
    sending = start(ENDPOINT=receiver.url)
    sending.add(5)
    sending.queue.close()
    assert (sending.sent, sending.lost(LossReason.REFUSED)) == (5 - lost, lost)


@pytest.mark.parametrize("body", [b"{}", b"\x0a", b"\x0a\x02\x08", b"\x0a\xff\xff\xff", b"<html>"])
def test_an_answer_that_is_no_otlp_rejects_nothing(receiver: Receiver, start: Start, body: bytes) -> None:
    receiver.answers = [Answer(body=body)]
    sending = start(ENDPOINT=receiver.url)
    sending.add(5)
    sending.queue.close()
    assert (sending.sent, sending.lost(LossReason.REFUSED)) == (5, 0)


def test_more_than_the_queue_holds_is_dropped_and_counted(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_queue, "EXPORT_EVERY_SECONDS", 60)
    monkeypatch.setattr(span_queue, "LARGEST_QUEUE", 3)
    sending = start(ENDPOINT=receiver.url)
    for _ in range(5):
        sending.add()
    sending.queue.close()
    assert (sending.sent, sending.lost(LossReason.QUEUE_FULL)) == (3, 2)


def test_a_long_queue_is_sent_in_several_requests_without_a_wait(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_queue, "EXPORT_EVERY_SECONDS", 60)
    monkeypatch.setattr(span_queue, "LARGEST_BATCH", 2)
    sending = start(ENDPOINT=receiver.url)
    for _ in range(5):
        sending.add()
    receiver.wait(2)
    sending.queue.close()
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
    sending.queue.close()
    (got,) = receiver.got
    assert got.path == "/otlp/tenant"
    assert (got.headers["authorization"], got.headers["x-tenant"]) == ("Basic c2VjcmV0", "a,b")
    assert "x-key" not in got.headers
    assert got.headers["content-encoding"] == "gzip"
    assert [span.name for span in decoded(gzip.decompress(got.body))] == ["accept"]


def test_headers_from_a_file_replace_those_of_the_environment(
    receiver: Receiver, start: Start, tmp_path: Path
) -> None:
    """The library reads the environment too: without care it would add the key of another receiver."""
    (tmp_path / "headers").write_text("x-key=traces")
    sending = start(
        ENDPOINT=receiver.url,
        HEADERS="x-key=general,x-other=general",
        TRACES_HEADERS_FILE=str(tmp_path / "headers"),
    )
    sending.add()
    sending.queue.close()
    (got,) = receiver.got
    assert got.headers["x-key"] == "traces"
    assert "x-other" not in got.headers


def test_a_receiver_that_does_not_answer_is_given_up_after_the_timeout(start: Start) -> None:
    before = exporting()
    with silent() as url:
        sending = start(ENDPOINT=url, TIMEOUT="200")
        sending.add()
        sending.queue.close()
        assert exporting() == before
    assert sending.lost(LossReason.NOT_TAKEN) == 1


def test_a_receiver_that_does_not_answer_delays_the_shutdown_for_a_bounded_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_queue, "CLOSE_SECONDS", 0.2)
    with silent() as url:
        sending = start(ENDPOINT=url, TIMEOUT="60000")
        sending.add(4)
        sending.queue.close()
    assert (sending.sent, sending.lost(LossReason.NOT_TAKEN)) == (0, 4)
