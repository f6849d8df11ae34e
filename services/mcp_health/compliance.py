"""Compliance controls: turns findings into the status of each control and a score. Pure: no calls, no clock.

A control supports one requirement of a standard with one measurement. It is neither an audit nor a
certificate. A control that could not be measured is unknown: it does not pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.contracts.health import ControlStatus

NOTICE = "Measured support for single controls; neither an audit nor a certificate."


class Standard(StrEnum):
    SOC2 = "SOC2"
    PCI_DSS = "PCI-DSS"
    GDPR = "GDPR"
    HIPAA = "HIPAA"


class Question(StrEnum):
    """What is measured. The findings of one service are stored as ``question.service``."""

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
class Finding:
    """The measured status of one question, with its evidence."""

    status: ControlStatus
    evidence: Mapping[str, Any] = field(default_factory=dict)
    measured_at: float | None = None  #: seconds since the epoch


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a standard."""

    standard: Standard
    control: str  #: its number in the standard
    question: Question
    of: tuple[str, ...] = ()  #: the measured services; empty: one finding for all

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

#: For each question: the statement that holds if it passed, and the recommendation otherwise.
_CLAIMS: Mapping[Question, tuple[str, str]] = {
    Question.ACCESS: (
        "requests without a key, or with a wrong one, are refused",
        "Put the route that answered behind the bearer key or the login (DASHBOARD_AUTH_ENABLED=true).",
    ),
    Question.REFUSALS: (
        "a refused request is counted and can be alerted on",
        "Find out why neither auth_probes_refused_total nor auth_failed_attempts_total grew with a refusal.",
    ),
    Question.IDENTIFIERS: (
        "metrics hold no bot token, key, chat or person",
        "Remove the label from the metric that the evidence names.",
    ),
    Question.KEY_FILE: (
        "the API key's file is closed to other users",
        "chmod 600 the API key's file, and create a new key if other users could read it.",
    ),
    Question.DATA_FILES: (
        "stored messages are closed to other users of the machine",
        "chmod 700 DATA_DIR.",
    ),
    Question.REDACTION: (
        "tokens, keys and passwords do not reach the log of this process",
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
        "Use SQLite with synchronous=FULL, or PostgreSQL on this host or over TLS.",
    ),
    Question.TRACES: (
        "what happened to a request can be reconstructed from its trace",
        "Set OTEL_EXPORTER_OTLP_ENDPOINT to the collector and JAEGER_URL to its query service.",
    ),
    Question.MONITORING: (
        "Prometheus scrapes every service, and every target is up",
        "Start the scrape targets that the evidence names, and add the missing jobs to prometheus.yml.",
    ),
    Question.ALERT_PATH: (
        "the Watchdog alert arrives through Prometheus and Alertmanager at an alert relay that works",
        "Send the alerts of Prometheus to the alert relay, with a rule Watchdog that always fires.",
    ),
    Question.CAPACITY: (
        "memory and disk of this host have headroom",
        "Free disk space or memory, or add more to this host.",
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
class ControlResult:
    """A control with its status; ``measured_at`` is that of its oldest finding, seconds since the epoch."""

    control: Control
    status: ControlStatus
    evidence: Mapping[str, Any]
    measured_at: float | None

    @property
    def recommendation(self) -> str | None:
        if self.status is ControlStatus.PASSED:
            return None
        # For what this process cannot see, the finding names what a person can check.
        return str(self.evidence.get("check") or self.control.recommendation)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The result of every control."""

    results: Sequence[ControlResult]

    def of(self, standard: Standard) -> Sequence[ControlResult]:
        return [result for result in self.results if result.control.standard is standard]


def count(results: Sequence[ControlResult]) -> dict[ControlStatus, int]:
    """Returns the number of controls in each status."""
    return {status: sum(each.status is status for each in results) for status in ControlStatus}


def score(results: Sequence[ControlResult]) -> float | None:
    """Returns percent passed of all controls, so an unknown one lowers it; None if none was measured."""
    counts = count(results)
    if counts[ControlStatus.UNKNOWN] == len(results):
        return None
    return round(100 * counts[ControlStatus.PASSED] / len(results), 1)


def assess(findings: Mapping[str, Finding], now: float, valid_seconds: float) -> Assessment:
    """Returns the result of every control.

    Args:
        findings: by :attr:`Control.keys`.
        now: seconds since the epoch.
        valid_seconds: age at which a finding becomes unknown.
    """
    current = {key: _expire(finding, now, valid_seconds) for key, finding in findings.items()}
    return Assessment([_result(control, current) for control in CONTROLS])


def _expire(finding: Finding, now: float, valid_seconds: float) -> Finding:
    if finding.measured_at is None or now - finding.measured_at <= valid_seconds:
        return finding
    evidence = {**finding.evidence, "reason": f"measured {now - finding.measured_at:.0f} s ago: too old"}
    return Finding(ControlStatus.UNKNOWN, evidence, finding.measured_at)


def _result(control: Control, findings: Mapping[str, Finding]) -> ControlResult:
    found = {key: findings.get(key, _NOT_MEASURED) for key in control.keys}
    times = [each.measured_at for each in found.values()]
    oldest = min((when for when in times if when is not None), default=None)
    statuses = {each.status for each in found.values()}
    if ControlStatus.FAILED in statuses:
        status = ControlStatus.FAILED
    else:
        status = ControlStatus.UNKNOWN if ControlStatus.UNKNOWN in statuses else ControlStatus.PASSED
    if not control.of:
        return ControlResult(control, status, next(iter(found.values())).evidence, oldest)
    evidence = {
        service: {"status": each.status.value, **each.evidence}
        for service, each in zip(control.of, found.values(), strict=True)
    }
    return ControlResult(control, status, evidence, oldest)


_NOT_MEASURED = Finding(ControlStatus.UNKNOWN, {"reason": "not measured yet"})
