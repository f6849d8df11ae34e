"""OTLP receivers over HTTP and gRPC: they take what exporters send and decode the protobuf."""

import gzip
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass(frozen=True)
class Span:
    """One span as it came over the wire."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start: int
    end: int
    error: str
    attributes: dict[str, Any]
    raw: str


class Receiver:
    """What has arrived so far."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._spans: list[Span] = []

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self._arrived:
            self._spans += _spans(request)
            self._arrived.notify_all()

    @property
    def spans(self) -> list[Span]:
        with self._arrived:
            return list(self._spans)

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    about["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.message,
                    _attributes(span.attributes),
                    str(span),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def receiver(certificate: Path | None = None, key: Path | None = None) -> Iterator[tuple[Receiver, str]]:
    """A receiver, and the endpoint to be set as OTEL_EXPORTER_OTLP_ENDPOINT.

    Args:
        certificate: for TLS.
        key: of the certificate.
    """
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            received.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            """Tests have their own log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield received, f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


#: Answers a call, or aborts it.
Respond = Callable[[grpc.ServicerContext], ExportTraceServiceResponse]


@contextmanager
def grpc_receiver(
    respond: Respond | None = None, credentials: grpc.ServerCredentials | None = None
) -> Iterator[tuple[Receiver, str]]:
    """A receiver of gRPC, and the endpoint to be set as OTEL_EXPORTER_OTLP_ENDPOINT.

    Args:
        respond: what it answers; unset: that it took everything.
        credentials: for TLS.
    """
    received = Receiver()

    class Servicer(TraceServiceServicer):
        def Export(  # noqa: N802 - as the protocol names it
            self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> ExportTraceServiceResponse:
            received.take(request)
            return respond(context) if respond else ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call] # generated
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield received, f"{'https' if credentials else 'http'}://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
