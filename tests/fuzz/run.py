"""Runs schemathesis's engine on a service, and counts operations, requests and failures."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from tests.fuzz import hooks

#: What an answer must be. A valid request may be refused: rules between fields are not in a JSON Schema.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
#: Operations that read values of other types as far as possible, since a refused alert is lost:
#: tests/alert_relay/alertmanager/test_parse.py has what is refused.
LENIENT = frozenset({"/webhook/alert", "/webhook/alert/{cluster}"})
PHASES = ("examples", "coverage", "fuzzing", "stateful")
#: Answers that say nothing about an operation: its input was wrong, or what it names does not exist.
_IN_VAIN = frozenset({404, 405, 422})
#: Of an operation that needs a key; another one, such as the login, decides itself on these.
_REFUSED = frozenset({401, 403, 429})
#: A 503 is documented: it says that the request should be repeated.
EXPECTED = ["2xx", "3xx", "4xx", "503"]


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Args:
        name: for the table.
        url: base URL.
        headers: sent with every request, such as the key.
        ids: values that exist, by the name of a path parameter.
        bodies: bodies that are accepted, by ``METHOD path``, where a random one hardly is.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, list[str]] = field(default_factory=dict)
    bodies: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """Result of a run.

    Args:
        name: of the service.
        documented: the operations of the document, as ``METHOD path``, and whether each needs a key.
        operations: the number of answers with each status, by ``METHOD path``.
        failures: one description for each kind of failure and operation.
        errors: failures of schemathesis itself.
    """

    name: str
    documented: Mapping[str, bool]
    operations: dict[str, Counter[int]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)

    @property
    def cases(self) -> int:
        return sum(sum(answers.values()) for answers in self.operations.values())

    @property
    def reached(self) -> list[str]:
        """Documented operations whose handler decided on a request: it was neither refused nor in vain."""
        return [
            label
            for label, keyed in self.documented.items()
            if set(self.operations.get(label, ())) - (_IN_VAIN | _REFUSED if keyed else _IN_VAIN)
        ]

    @property
    def server_errors(self) -> int:
        """Answers with status 500; a 503 is documented and says that the request should be repeated."""
        return sum(answers[500] for answers in self.operations.values())

    def allows(self, check: str, case: Any, message: str) -> bool:
        """Whether a finding is none of ours."""
        if check == "negative_data_rejection":
            # "5" is read as 5, and "no" as false: tests/contracts say what is refused.
            if case.operation.path in LENIENT:
                return True
            return "Incorrect type" in message or hooks.is_made_valid(case)
        if check in ("unsupported_method", "allow_header_conformance"):
            # `/faults/seed` is an instance of `/faults/{fault_id}` too, which has other methods.
            paths = {label.partition(" ")[2] for label in self.documented}
            return sum(_matches(path, case.formatted_path) for path in paths) > 1
        return False

    def add(self, phase: str, recorder: ScenarioRecorder) -> None:
        for case_id, node in recorder.cases.items():
            interaction = recorder.interactions.get(case_id)
            if interaction is None or interaction.response is None:
                continue
            # A request with another method, such as TRACE, belongs to no operation.
            label = f"{node.value.method.upper()} {node.value.operation.path}"
            self.operations.setdefault(label, Counter())[interaction.response.status_code] += 1
            self.phases[phase] += 1
        for case_id, checks in recorder.checks.items():
            for check in checks:
                case, found = recorder.cases[case_id].value, check.failure_info
                if (
                    check.status == Status.FAILURE
                    and found is not None
                    and not self.allows(check.name, case, found.failure.message)
                ):
                    label = case.operation.label
                    self.failures.setdefault(
                        (check.name, label),
                        f"{found.failure.title}\n{found.failure.message}\n{found.code_sample}",
                    )


def run(service: Service, *, examples: int, seed: int, phases: tuple[str, ...] = PHASES) -> Report:
    """Fuzzes a service.

    Args:
        service: as it runs.
        examples: random requests for each operation, and chains of requests in all.
        seed: of the random requests.
        phases: of schemathesis.
    """
    config = SchemathesisConfig.from_dict(_config(service, examples, seed, phases))
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config)
    hooks.use(hooks.Changes(service.ids, service.bodies))
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    report = Report(service.name, {one.label: bool(one.definition.raw.get("security")) for one in operations})
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            report.add(event.phase.value, event.recorder)
        elif isinstance(event, events.NonFatalError):
            report.errors.append(f"{event.phase} {event.label}: {event.info.format()}")
        elif isinstance(event, events.FatalError):
            report.errors.append(f"{event.exception!r}")
    return report


def _config(service: Service, examples: int, seed: int, phases: tuple[str, ...]) -> dict[str, Any]:
    return {
        "base-url": service.url,
        "headers": dict(service.headers),
        "seed": seed,
        "workers": 1,
        "continue-on-failure": True,
        "request-timeout": 30,
        # A stream has no end: only its first event is awaited.
        "max-stream-events": 1,
        "max-redirects": 0,
        "generation": {"max-examples": examples, "mode": "all", "database": "none"},
        "checks": {"enabled": False}
        | {name: {"enabled": True} for name in CHECKS}
        | {"not_a_server_error": {"enabled": True, "expected-statuses": EXPECTED}},
        "phases": {"enabled": False} | {name: {"enabled": True} for name in phases},
    }


def _matches(template: str, path: str) -> bool:
    """Whether a path is an instance of a template such as ``/chats/{chat_id}``."""
    parts = re.split(r"\{[^}]*\}", template)
    return re.fullmatch("[^/]+".join(map(re.escape, parts)), path) is not None


def dump(report: Report) -> str:
    """The statuses of each operation, as JSON, for a person who looks for what was not reached."""
    statuses: dict[str, dict[int, int]] = defaultdict(dict)
    for label, answers in report.operations.items():
        statuses[label] = dict(sorted(answers.items()))
    return json.dumps(statuses, indent=1)
