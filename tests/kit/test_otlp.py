from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind

from services.kit import otlp
from services.kit.spans import FinishedSpan, TraceContext

TRACE = TraceContext(0xABC << 64 | 7, 11, sampled=True)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_VALUES = st.one_of(_TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
_SPANS = st.builds(
    FinishedSpan,
    name=_TEXT.filter(bool),
    context=st.just(TRACE.child()),
    parent=st.sampled_from([TRACE, None]),
    start=st.floats(0, 4e9),
    end=st.floats(0, 4e9),
    attributes=st.dictionaries(_TEXT.filter(bool), _VALUES, max_size=6),
    kind=st.sampled_from(SpanKind),
    error=_TEXT,
    links=st.sampled_from([(), (TRACE,)]),
)


def request_of(*spans: FinishedSpan) -> ExportTraceServiceRequest:
    body = otlp.encode_request({"service.name": "bridge"}, ("cctelegram", "1"), spans)
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return request


@given(_SPANS)
def test_protobuf_reads_what_was_written(span: FinishedSpan) -> None:
    [of] = request_of(span).resource_spans
    [scope] = of.scope_spans
    [read] = scope.spans
    assert [(a.key, a.value.string_value) for a in of.resource.attributes] == [("service.name", "bridge")]
    assert (scope.scope.name, scope.scope.version) == ("cctelegram", "1")
    assert read.name == span.name
    assert read.trace_id == span.context.trace_id.to_bytes(16)
    assert read.span_id == span.context.span_id.to_bytes(8)
    assert read.parent_span_id == (span.parent.span_id.to_bytes(8) if span.parent else b"")
    assert read.kind == span.kind.value + 1
    assert read.start_time_unix_nano == int(span.start * 1e9)
    assert read.end_time_unix_nano == int(max(span.end, span.start) * 1e9)
    values = {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in read.attributes}
    assert values == span.attributes
    assert {key: type(value) for key, value in values.items()} == {
        key: type(value) for key, value in span.attributes.items()
    }
    assert (read.status.code, read.status.message) == ((2, span.error) if span.error else (0, ""))
    assert [link.trace_id for link in read.links] == [link.trace_id.to_bytes(16) for link in span.links]


def test_spans_that_share_their_attributes_keep_them_apart_from_others() -> None:
    mine, others = {"a": "1"}, {"b": 2}
    spans = [
        FinishedSpan("x", TRACE, None, 1.0, 2.0, attributes) for attributes in (mine, mine, others, {}, mine)
    ]
    read = request_of(*spans).resource_spans[0].scope_spans[0].spans
    assert [[a.key for a in span.attributes] for span in read] == [["a"], ["a"], ["b"], [], ["a"]]


def test_what_waits_is_sent_at_the_end() -> None:
    bodies = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        sender = otlp.SpanSender(f"http://127.0.0.1:{server.server_port}", {}, ("cctelegram", "1"))
        sender.add(FinishedSpan("accept", TRACE, None, 1.0, 2.0))
        sender.close()
        server.shutdown()
        thread.join()
    [(path, body)] = bodies
    assert path == "/v1/traces"
    [span] = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert span.name == "accept"


def test_a_receiver_that_is_away_holds_up_nobody_at_the_end() -> None:
    sender = otlp.SpanSender("http://127.0.0.1:9", {}, ("cctelegram", "1"))
    sender.add(FinishedSpan("accept", TRACE, None, 1.0, 2.0))
    sender.close()
