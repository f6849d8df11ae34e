"""From measurements to controls and a score. Pure: no calls, no clock.

A control supports a requirement of a standard with one thing that was measured here and now. It is
no audit and no certificate, and what could not be measured is unknown: it neither passes nor fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NOTICE = "Measured support for single controls; neither an audit nor a certificate."


class Standard(StrEnum):
    SOC2 = "SOC2"
    PCI_DSS = "PCI-DSS"
    GDPR = "GDPR"
    HIPAA = "HIPAA"


class Status(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"  #: was not, or could not be, measured


class Question(StrEnum):
    """What is measured; those that are asked of each service have its id behind a dot."""

    ACCESS = "access"
    REFUSALS = "refusals"
    IDENTIFIERS = "identifiers"
    KEY_FILE = "key_file"
    DATA_FILES = "data_files"
    REDACTION = "redaction"
    LISTENERS = "listeners"
    TRANSPORT = "transport"
    STORE = "store"
    TRACES = "traces"
    MONITORING = "monitoring"
    ALERT_PATH = "alert_path"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True)
class Measurement:
    status: Status
    evidence: Mapping[str, Any] = field(default_factory=dict)
    measured_at: float | None = None  #: seconds since the epoch


@dataclass(frozen=True, slots=True)
class Control:
    standard: Standard
    control: str  #: as the standard numbers it
    question: Question
    of: tuple[str, ...] = ()  #: the services that are asked; empty: one measurement

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(f"{self.question}.{service}" for service in self.of) or (self.question.value,)

    @property
    def supports(self) -> str:
        return f"supports {self.standard} {self.control}: {_CLAIMS[self.question][0]}"

    @property
    def recommendation(self) -> str:
        return _CLAIMS[self.question][1]


OUR_SERVICES = ("bridge", "alert_relay", "dashboard")
COUNTING_SERVICES = ("bridge", "alert_relay")

#: For each question what holds when it passes, and what to do when it does not.
_CLAIMS: Mapping[Question, tuple[str, str]] = {
    Question.ACCESS: (
        "requests without a key, or with a wrong one, are refused",
        "Put the route that answered behind the bearer key or the login (DASHBOARD_AUTH_ENABLED=true).",
    ),
    Question.REFUSALS: (
        "a refused request is counted and can be alerted on",
        "See why auth_failed_attempts_total did not grow with a refused request.",
    ),
    Question.IDENTIFIERS: (
        "metrics hold no bot token, key, chat or person",
        "Take the label out of the metric that the evidence names.",
    ),
    Question.KEY_FILE: (
        "the API key's file is closed to other users",
        "chmod 600 the file of the API key, and make a new key if others could read it.",
    ),
    Question.DATA_FILES: (
        "stored messages are closed to other users of the machine",
        "chmod 700 DATA_DIR.",
    ),
    Question.REDACTION: (
        "tokens, keys and passwords do not reach the log",
        "Send the logs through services.kit.logs.configure.",
    ),
    Question.LISTENERS: (
        "the services listen on loopback only",
        "Set HOST=127.0.0.1, or put a reverse proxy with TLS in front.",
    ),
    Question.TRANSPORT: (
        "calls between services stay on this machine or are encrypted",
        "Use https:// addresses between hosts.",
    ),
    Question.STORE: (
        "what was accepted is flushed to disk, over a local or an encrypted connection",
        "SQLite with synchronous=FULL, or PostgreSQL on this host or over TLS.",
    ),
    Question.TRACES: (
        "what happened to a request can be reconstructed from its trace",
        "Set OTEL_EXPORTER_OTLP_ENDPOINT to the collector and JAEGER_URL to its query service.",
    ),
    Question.MONITORING: (
        "every part is being scraped and measured",
        "Bring up the scrape targets that the evidence names.",
    ),
    Question.ALERT_PATH: (
        "the alert relay, and Alertmanager where it is set up, do their job",
        "See /health of the alert relay and of Alertmanager.",
    ),
    Question.CAPACITY: (
        "memory and disk have headroom",
        "Free disk space or memory, or give this host more of it.",
    ),
}

CONTROLS: Sequence[Control] = (
    Control(Standard.SOC2, "CC6.1", Question.ACCESS, OUR_SERVICES),
    Control(Standard.SOC2, "CC6.1", Question.KEY_FILE),
    Control(Standard.SOC2, "CC6.6", Question.LISTENERS),
    Control(Standard.SOC2, "CC6.7", Question.TRANSPORT),
    Control(Standard.SOC2, "CC7.2", Question.MONITORING),
    Control(Standard.SOC2, "CC7.2", Question.TRACES),
    Control(Standard.SOC2, "CC7.3", Question.ALERT_PATH),
    Control(Standard.SOC2, "A1.1", Question.CAPACITY),
    Control(Standard.SOC2, "PI1.5", Question.STORE),
    Control(Standard.SOC2, "C1.1", Question.REDACTION),
    Control(Standard.PCI_DSS, "1.3.1", Question.LISTENERS),
    Control(Standard.PCI_DSS, "4.2.1", Question.TRANSPORT),
    Control(Standard.PCI_DSS, "7.2.1", Question.DATA_FILES),
    Control(Standard.PCI_DSS, "8.3.1", Question.ACCESS, OUR_SERVICES),
    Control(Standard.PCI_DSS, "8.3.2", Question.REDACTION),
    Control(Standard.PCI_DSS, "8.6.2", Question.KEY_FILE),
    Control(Standard.PCI_DSS, "10.2.1.4", Question.REFUSALS, COUNTING_SERVICES),
    Control(Standard.PCI_DSS, "10.7.2", Question.MONITORING),
    Control(Standard.PCI_DSS, "10.7.2", Question.ALERT_PATH),
    Control(Standard.GDPR, "Art. 5(1)(c)", Question.IDENTIFIERS, OUR_SERVICES),
    Control(Standard.GDPR, "Art. 25(2)", Question.LISTENERS),
    Control(Standard.GDPR, "Art. 32(1)(a)", Question.TRANSPORT),
    Control(Standard.GDPR, "Art. 32(1)(b)", Question.ACCESS, OUR_SERVICES),
    Control(Standard.GDPR, "Art. 32(1)(b)", Question.DATA_FILES),
    Control(Standard.GDPR, "Art. 32(1)(b)", Question.STORE),
    Control(Standard.GDPR, "Art. 32(1)(b)", Question.REDACTION),
    Control(Standard.GDPR, "Art. 33(1)", Question.ALERT_PATH),
    Control(Standard.HIPAA, "164.308(a)(1)(ii)(D)", Question.MONITORING),
    Control(Standard.HIPAA, "164.308(a)(6)(ii)", Question.ALERT_PATH),
    Control(Standard.HIPAA, "164.312(a)(1)", Question.DATA_FILES),
    Control(Standard.HIPAA, "164.312(b)", Question.REFUSALS, COUNTING_SERVICES),
    Control(Standard.HIPAA, "164.312(b)", Question.TRACES),
    Control(Standard.HIPAA, "164.312(c)(1)", Question.STORE),
    Control(Standard.HIPAA, "164.312(d)", Question.ACCESS, OUR_SERVICES),
    Control(Standard.HIPAA, "164.312(e)(1)", Question.TRANSPORT),
)


@dataclass(frozen=True, slots=True)
class Row:
    control: Control
    status: Status
    evidence: Mapping[str, Any]
    measured_at: float | None

    @property
    def recommendation(self) -> str | None:
        if self.status is Status.PASSED:
            return None
        # What cannot be seen from here is for a person to look at, rather than to change.
        return str(self.evidence.get("check") or self.control.recommendation)


@dataclass(frozen=True, slots=True)
class Report:
    rows: Sequence[Row]

    def of(self, standard: Standard) -> Sequence[Row]:
        return [row for row in self.rows if row.control.standard is standard]


def count(rows: Sequence[Row]) -> dict[Status, int]:
    return {status: sum(row.status is status for row in rows) for status in Status}


def score(rows: Sequence[Row]) -> float | None:
    """Percent passed of those measured; none while nothing is measured."""
    counts = count(rows)
    measured = counts[Status.PASSED] + counts[Status.FAILED]
    return round(100 * counts[Status.PASSED] / measured, 1) if measured else None


def assess(measurements: Mapping[str, Measurement], now: float, valid_seconds: float) -> Report:
    """Every control as the measurements have it.

    Args:
        measurements: by :attr:`Control.keys`.
        now: seconds since the epoch.
        valid_seconds: how long a measurement tells something.
    """
    current = {key: _aged(found, now, valid_seconds) for key, found in measurements.items()}
    return Report([_row(control, current) for control in CONTROLS])


def _aged(found: Measurement, now: float, valid_seconds: float) -> Measurement:
    if found.measured_at is None or now - found.measured_at <= valid_seconds:
        return found
    evidence = {**found.evidence, "reason": f"measured {now - found.measured_at:.0f} s ago: too old"}
    return Measurement(Status.UNKNOWN, evidence, found.measured_at)


def _row(control: Control, measurements: Mapping[str, Measurement]) -> Row:
    found = {key: measurements.get(key, _NEVER) for key in control.keys}
    times = [each.measured_at for each in found.values()]
    oldest = min((when for when in times if when is not None), default=None)
    statuses = {each.status for each in found.values()}
    if Status.FAILED in statuses:
        status = Status.FAILED
    else:
        status = Status.UNKNOWN if Status.UNKNOWN in statuses else Status.PASSED
    if not control.of:
        return Row(control, status, next(iter(found.values())).evidence, oldest)
    evidence = {
        service: {"status": each.status.value, **each.evidence}
        for service, each in zip(control.of, found.values(), strict=True)
    }
    return Row(control, status, evidence, oldest)


_NEVER = Measurement(Status.UNKNOWN, {"reason": "not measured yet"})
