"""OTLP over HTTP by the official exporter, which compresses, connects and repeats (``Retry-After``)."""

from http import HTTPStatus
from typing import Any

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from services.kit.telemetry.exporter import Destination, ExportResult, LossReason, RetryStop

#: The statuses that OTLP calls retryable.
BUSY = frozenset({429, 502, 503, 504})


class HttpExporter(OTLPSpanExporter):
    """Posts requests to a receiver.

    Args:
        to: the receiver.
    """

    def __init__(self, to: Destination) -> None:
        self._session = _Session(to.headers, RetryStop(self.shutdown))
        super().__init__(
            endpoint=to.url,
            headers=to.headers,
            timeout=to.timeout,
            compression=Compression.Gzip if to.compress else Compression.NoCompression,
            certificate_file=str(to.certificate) if to.certificate else None,
            session=self._session,
        )

    def send(self, request: ExportTraceServiceRequest) -> ExportResult:
        # The public `export` takes spans of the SDK and encodes them.
        self._client.export(request.SerializeToString())
        answer = self._session.answer
        if answer is None:
            return ExportResult(LossReason.NOT_TAKEN, cause=self._session.error)
        cause = f"status {answer.status_code}"
        if answer.status_code in BUSY:
            return ExportResult(LossReason.NOT_TAKEN, cause=cause)
        # The library counts a redirect, which it does not follow, as success.
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            return ExportResult(LossReason.REFUSED, cause=cause)
        return ExportResult(rejected=_rejected(answer.content))

    def stop_retries(self) -> None:
        self._session.retries.stop()


class _Session(requests.Session):
    """Remembers the last answer, and keeps the environment from changing headers and certificates.

    The exporter adds headers of the environment to those of the settings, which may come from a file;
    ``requests`` prefers ``REQUESTS_CA_BUNDLE`` to the certificate of a session.
    """

    def __init__(self, headers: dict[str, str], retries: RetryStop) -> None:
        super().__init__()
        self.answer: requests.Response | None = None
        self.error = ""
        self.retries = retries
        self._allowed = {"content-type", "content-encoding", "user-agent", *map(str.lower, headers)}

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """One try."""
        self.answer, self.error = None, "no answer"
        if self.verify is not True:
            kwargs["verify"] = self.verify
        headers = kwargs["headers"].items()
        kwargs["headers"] = {name: value for name, value in headers if name.lower() in self._allowed}
        try:
            self.answer = super().request(*args, **kwargs)
        except requests.RequestException as error:
            self.error = type(error).__name__
            raise
        finally:
            self.retries.tried(failed=self.answer is None or self.answer.status_code in BUSY)
        return self.answer


def _rejected(content: bytes) -> int:
    """How many spans an answer rejects (``partial_success``); an answer that is no OTLP rejects none."""
    try:
        response = ExportTraceServiceResponse.FromString(content)
    except DecodeError:
        return 0
    return int(response.partial_success.rejected_spans)
