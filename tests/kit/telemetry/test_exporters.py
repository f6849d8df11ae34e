"""The exporters that the standard's variables choose: OTLP over gRPC and HTTP, the console, none."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from structlog.testing import capture_logs

from services.kit import settings
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.exporter import Destination, LossReason
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry, TraceContext
from tests.ports import free_port
from tests.services.otlp import grpc_receiver, receiver

TRACE = TraceContext(0xABC << 64 | 7, 11, sampled=True)
SPAN = FinishedSpan("accept", TRACE.child(), TRACE, 1.0, 2.5, {"n": 1, "list": ["a", "b"]}, error="refused")
Variables = Callable[..., ServiceSettings]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Sets ``OTEL_`` variables and reads the settings."""

    def read(**values: str) -> ServiceSettings:
        for name, value in values.items():
            monkeypatch.setenv(f"OTEL_{name}", value)
        return settings.load(ServiceSettings)

    return read


def exported(read: ServiceSettings, *spans: FinishedSpan) -> Telemetry:
    """A service that exported these spans and closed."""
    telemetry = Telemetry("kit-test", read)
    for span in spans or (SPAN,):
        telemetry.export_span(span)
    telemetry.close()
    return telemetry


def sent(telemetry: Telemetry) -> float | None:
    return telemetry.registry.get_sample_value("trace_spans_sent_total")


def lost(telemetry: Telemetry, reason: LossReason) -> float | None:
    return telemetry.registry.get_sample_value("trace_spans_lost_total", {"reason": reason.value})


def test_a_variable_for_traces_takes_precedence_over_the_one_for_everything(
    variables: Variables, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.touch()
    two.touch()
    general = variables(
        EXPORTER_OTLP_ENDPOINT="http://c:4318/",
        EXPORTER_OTLP_TIMEOUT="2000",
        EXPORTER_OTLP_COMPRESSION="gzip",
        EXPORTER_OTLP_HEADERS="a=1",
        EXPORTER_OTLP_CERTIFICATE=str(one),
    )
    assert Destination.of(general) == Destination(
        "http://c:4318/v1/traces", {"a": "1"}, 2.0, compress=True, certificate=one
    )
    own = variables(
        EXPORTER_OTLP_TRACES_ENDPOINT="http://t/x/",
        EXPORTER_OTLP_TRACES_TIMEOUT="500",
        EXPORTER_OTLP_TRACES_COMPRESSION="none",
        EXPORTER_OTLP_TRACES_HEADERS="b=2",
        EXPORTER_OTLP_TRACES_CERTIFICATE=str(two),
        EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
    )
    assert Destination.of(own) == Destination(
        "http://t/x/", {"b": "2"}, 0.5, compress=False, certificate=two, protocol="grpc"
    )


@pytest.mark.parametrize(
    ("protocol", "url"),
    [("http/protobuf", "http://localhost:4318/v1/traces"), ("grpc", "http://localhost:4317")],
)
def test_the_standard_has_an_endpoint_for_each_protocol(
    variables: Variables, protocol: str, url: str
) -> None:
    read = variables(TRACES_EXPORTER="otlp", EXPORTER_OTLP_PROTOCOL=protocol)
    assert read.traces_exporter == "otlp"
    assert Destination.of(read).url == url


@pytest.mark.parametrize(
    ("values", "exports"),
    [
        ({}, False),
        ({"EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"TRACES_EXPORTER": "otlp"}, True),
        ({"TRACES_EXPORTER": "console"}, True),
        ({"TRACES_EXPORTER": "none", "EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
    ],
)
def test_spans_are_exported_where_an_endpoint_or_an_exporter_is_set(
    variables: Variables, values: dict[str, str], exports: bool
) -> None:
    telemetry = Telemetry("kit-test", variables(**values))
    assert telemetry.exports_spans is exports
    telemetry.close()


def test_the_console_shows_each_span_as_a_line_of_json(
    variables: Variables, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry = exported(variables(TRACES_EXPORTER="console"), SPAN, FinishedSpan("b", TRACE, None, 1.0, 1.0))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "service": "kit-test",
        "name": "accept",
        "trace_id": f"{TRACE.trace_id:032x}",
        "span_id": f"{SPAN.context.span_id:016x}",
        "parent_id": f"{TRACE.span_id:016x}",
        "start": 1.0,
        "duration_ms": 1500.0,
        "attributes": {"n": 1, "list": ["a", "b"]},
        "error": "refused",
    }
    assert (second["parent_id"], "error" in second) == ("", False)
    assert sent(telemetry) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACES_EXPORTER", "jaeger"),
        ("EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("EXPORTER_OTLP_TRACES_PROTOCOL", "udp"),
        ("EXPORTER_OTLP_ENDPOINT", "jaeger:4318"),
        ("EXPORTER_OTLP_TRACES_ENDPOINT", "not a URL"),
        ("EXPORTER_OTLP_TIMEOUT", "0"),
        ("EXPORTER_OTLP_COMPRESSION", "zip"),
        ("EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem"),
        ("EXPORTER_OTLP_HEADERS", "nothing"),
        ("TRACES_SAMPLER_ARG", "2"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_the_variable(
    variables: Variables, name: str, value: str
) -> None:
    with pytest.raises(StartError, match=f"^OTEL_{name}: "):
        variables(**{name: value})


@pytest.mark.parametrize(
    "headers",
    [
        "hunter2secret",
        "=hunter2secret",
        "a=1,hunter2secret",
        "hunter2secret=",
        "a=hunter2secret;b",
        'a="hunter2secret"',
        "a=hunter2secret%0A",
        "a b=hunter2secret",
        "a=hunter2secret%C3%A9",
    ],
)
def test_headers_that_cannot_be_sent_stop_the_start_without_being_shown(
    variables: Variables, headers: str
) -> None:
    with pytest.raises(StartError, match="name=value,name=value") as refused:
        variables(EXPORTER_OTLP_HEADERS=headers)
    assert "hunter2secret" not in str(refused.value)


def test_a_key_among_the_headers_is_in_no_representation(variables: Variables) -> None:
    read = variables(
        EXPORTER_OTLP_ENDPOINT="http://c:4318", EXPORTER_OTLP_HEADERS="authorization=hunter2secret"
    )
    assert "hunter2secret" not in f"{read!r} {Destination.of(read)!r}"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_no_header_and_no_address_is_in_the_logs(
    variables: Variables, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    read = variables(
        EXPORTER_OTLP_PROTOCOL=protocol,
        EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}/path-secret",
        EXPORTER_OTLP_HEADERS="authorization=hunter2secret",
    )
    with caplog.at_level("DEBUG"), capture_logs() as logged:
        telemetry = exported(read)
    assert lost(telemetry, LossReason.NOT_TAKEN) == 1
    assert "secret" not in f"{caplog.text} {logged}"
    assert [line["event"] for line in logged] == ["spans_lost"]
    assert caplog.records == []


def over_grpc(endpoint: str, **values: str) -> dict[str, str]:
    return {"EXPORTER_OTLP_PROTOCOL": "grpc", "EXPORTER_OTLP_ENDPOINT": endpoint} | values


def test_spans_go_over_grpc(variables: Variables) -> None:
    seen: list[dict[str, Any]] = []

    def respond(context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        seen.append(dict(context.invocation_metadata()))
        return ExportTraceServiceResponse()

    with grpc_receiver(respond) as (received, endpoint):
        compressed = {"EXPORTER_OTLP_COMPRESSION": "gzip", "EXPORTER_OTLP_HEADERS": "X-Key=a%20b"}
        telemetry = Telemetry("kit-test", variables(**over_grpc(endpoint, **compressed)))
        telemetry.export_span(SPAN)
        with telemetry.tracer.start_as_current_span("work"):
            pass
        telemetry.close()
    assert {(span.service, span.name) for span in received.spans} == {
        ("kit-test", "accept"),
        ("kit-test", "work"),
    }
    assert seen[0]["x-key"] == "a b"
    assert sent(telemetry) == 2


def test_a_busy_grpc_receiver_is_called_again_when_it_says(variables: Variables) -> None:
    calls: list[int] = []

    def respond(context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        calls.append(1)
        if len(calls) < 3:
            soon = RetryInfo(retry_delay=Duration(nanos=1_000_000)).SerializeToString()
            context.set_trailing_metadata([("google.rpc.retryinfo-bin", soon)])
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return ExportTraceServiceResponse()

    with grpc_receiver(respond) as (received, endpoint):
        telemetry = Telemetry("kit-test", variables(**over_grpc(endpoint)))
        telemetry.export_span(SPAN)
        assert telemetry.tracer_provider.force_flush()
        telemetry.close()
    assert len(received.spans) == 3
    assert sent(telemetry) == 1


def test_what_a_grpc_receiver_refuses_or_rejects_is_counted(variables: Variables) -> None:
    calls: list[int] = []

    def respond(context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        calls.append(1)
        if len(calls) == 1:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        rejected = ExportTracePartialSuccess(rejected_spans=1)
        return ExportTraceServiceResponse(partial_success=rejected)

    with grpc_receiver(respond) as (_, endpoint), capture_logs() as logged:
        telemetry = Telemetry("kit-test", variables(**over_grpc(endpoint)))
        telemetry.export_span(SPAN)
        assert telemetry.tracer_provider.force_flush()
        telemetry.export_span(SPAN)
        telemetry.export_span(SPAN)
        telemetry.close()
    assert (sent(telemetry), lost(telemetry, LossReason.REFUSED)) == (1, 2)
    assert [line["cause"] for line in logged] == ["UNAUTHENTICATED", "partial success"]


def test_a_grpc_receiver_that_is_away_loses_spans_and_delays_no_shutdown(variables: Variables) -> None:
    telemetry = exported(variables(**over_grpc(f"http://127.0.0.1:{free_port()}")))
    assert (sent(telemetry), lost(telemetry, LossReason.NOT_TAKEN)) == (0, 1)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    kind = ("-newkey", "rsa:2048", "-nodes", "-days", "1")
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", key, "-out", certificate)
    subprocess.run(["openssl", "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("trusted", [True, False])
def test_grpc_over_tls_trusts_the_certificate_of_the_settings(
    variables: Variables, certificate: tuple[Path, Path], trusted: bool
) -> None:
    cert, key = certificate
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    with grpc_receiver(credentials=credentials) as (received, endpoint):
        trust = {"EXPORTER_OTLP_CERTIFICATE": str(cert)} if trusted else {}
        exported(variables(**over_grpc(endpoint, **trust)))
    assert [span.name for span in received.spans] == ["accept"] * trusted


@pytest.mark.parametrize("trusted", [True, False])
def test_http_over_tls_trusts_the_certificate_of_the_settings(
    variables: Variables, certificate: tuple[Path, Path], trusted: bool
) -> None:
    with receiver(*certificate) as (received, endpoint):
        trust = {"EXPORTER_OTLP_CERTIFICATE": str(certificate[0])} if trusted else {}
        exported(variables(EXPORTER_OTLP_ENDPOINT=endpoint, **trust))
    assert [span.name for span in received.spans] == ["accept"] * trusted
