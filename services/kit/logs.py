"""Structured logging: JSON lines with trace ids, secrets redacted.

Lines go to standard error; the suite in one process writes them to a file, since a person uses its terminal.
"""

import json
import logging
import logging.handlers
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import orjson
import structlog
from opentelemetry import trace

from services.kit.settings import StartError

service_name: ContextVar[str] = ContextVar("service_name", default="suite")
correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

REDACTED = "[redacted]"
# A Bot API URL contains the bot's token, behind "/bot"; our requests contain a bearer key.
_PATTERNS = (
    re.compile(r"\d{6,}(?::|%3[Aa])[A-Za-z0-9_-]{20,}"),
    re.compile(r"(?<=bearer )[A-Za-z0-9._~+/=-]+", re.IGNORECASE),
    re.compile(r"\bcct_[A-Za-z0-9_-]{16,}"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
    re.compile(r"(?<=cookie: )[^\r\n]+", re.IGNORECASE),
)
_SECRET_FIELDS = re.compile(r"token|secret|password|authorization|api_?key|cookie", re.IGNORECASE)


def redact(text: str) -> str:
    """Replaces bot tokens, bearer keys, cookies and passwords of URLs in a text."""
    for pattern in _PATTERNS:
        text = pattern.sub(REDACTED, text)
    return text


def _redact_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: str, value: Any) -> Any:
    """The value as JSON can hold it, redacted; other types become text."""
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_FIELDS.search(key):
        return REDACTED
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {redact(str(inner)): _redacted(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item) for item in value]
    return redact(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def _context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("service", service_name.get())
    if known := correlation_id.get():
        event.setdefault("correlation_id", known)
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event.setdefault("trace_id", f"{span.trace_id:032x}")
        event.setdefault("span_id", f"{span.span_id:016x}")
    return event


def _json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    try:
        return orjson.dumps(dict(event)).decode()
    except TypeError:  # orjson refuses integers beyond 64 bits and lone surrogates; json does not
        return json.dumps(dict(event))


def configure(level: str, file: Path | None = None) -> None:
    """Sends structlog and the standard library's loggers through one pipeline.

    Args:
        level: lowest level that is logged, such as ``INFO``.
        file: log file, rotated at 20 MB; None: standard error.

    Raises:
        StartError: the file cannot be written.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _context,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _handler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact_fields,
                _json,
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers:
        old.close()
    root.handlers = [handler]
    root.setLevel(level)
    # These log every request with its URL; metrics and traces have ours.
    for noisy in ("httpx", "httpcore", "uvicorn.access", "telegram", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _handler(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(file, maxBytes=20_000_000, backupCount=3)
    except OSError as error:
        raise StartError(f"DATA_DIR: cannot write the log {file}: {error.strerror}") from error
