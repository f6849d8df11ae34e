"""The stack's configuration files, and copies of them with other addresses for tests."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.stack.servers import REPOSITORY

PROMETHEUS = REPOSITORY / "prometheus"
ALERTMANAGER = REPOSITORY / "alertmanager"
GRAFANA = REPOSITORY / "grafana"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*_test.yml"))
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))


def load(path: Path) -> Any:
    """Loads a YAML file, with anchors and merges resolved."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in load(path)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


@dataclass(frozen=True)
class Panel:
    """A query of a panel, with Grafana's variables."""

    dashboard: str
    title: str
    expression: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.title}"


def panels() -> Iterator[Panel]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield Panel(path.stem, panel["title"], target["expr"], panel.get("description", ""))


@dataclass(frozen=True)
class Figure:
    """An expression of a panel or a rule, with the words that explain it."""

    name: str
    expression: str
    words: str


def figures() -> Iterator[Figure]:
    for panel in panels():
        yield Figure(str(panel), panel.expression, f"{panel.title} {panel.about}")
    for rule in rules():
        words = " ".join(rule.get("annotations", {}).values())
        yield Figure(rule.get("alert") or rule["record"], rule["expr"], words)


@dataclass(frozen=True)
class Variable:
    """A drop-down variable: the values of a label."""

    dashboard: str
    name: str
    selector: str
    label: str

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.name}"


def variables() -> Iterator[Variable]:
    for path in DASHBOARDS:
        for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]:
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert asked is not None, f"{path.name}: {variable['query']}"
            yield Variable(path.stem, variable["name"], asked[1], asked[2])


def with_values(expression: str, **values: str) -> str:
    """Returns a panel's expression as Grafana sends it."""
    known = {"__rate_interval": "1m", "__range": "1h"} | values
    return re.sub(r"\$(\w+)", lambda match: known.get(match[1], ".*"), expression)


_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "start", "end", "nan", "inf"})


def series(expression: str) -> set[str]:
    """Returns the names of the series that an expression reads.

    It removes strings, comments, matchers, groupings and ranges; the remaining words are names, and those
    followed by a parenthesis are functions. promtool checks the syntax.
    """
    text = re.sub(r"#[^\n]*", " ", expression)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    text = re.sub(r"\{[^}]*\}", " ", text)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    names = re.finditer(r"(?<![\w.:])([a-zA-Z_:][\w:]*)(\s*\()?", text)
    return {match[1] for match in names if not match[2] and match[1].lower() not in _WORDS}


def read_by(expression: str) -> list[str]:
    """Returns an expression, and those of the recorded series that it reads, and so on."""
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    behind = [recorded[name] for name in sorted(series(expression)) if name in recorded]
    return [expression, *(each for one in behind for each in read_by(one))]


def raw_series(expression: str) -> set[str]:
    """Returns the names of the exported series that an expression reads, itself or through recorded ones."""
    return {name for each in read_by(expression) for name in series(each)} - recorded()


def labels(expression: str) -> set[tuple[str, str]]:
    """Returns the pairs of series and label in the matchers of an expression."""
    found = set()
    for match in re.finditer(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', match[2])
        found |= {(match[1], label) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", bare)}
    return found


def scraped_at(config: Mapping[str, Any], addresses: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    """Returns Prometheus's configuration with other addresses and short intervals.

    Our services are scraped every second, others every five: postgres_exporter takes three seconds to report
    a missing database.

    Args:
        config: as in prometheus.yml.
        addresses: of each job, and of ``alertmanager``; a job without one is removed.
    """
    made = copy.deepcopy(dict(config))
    made["global"] = {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "1s"}
    made["rule_files"] = [str(path) for path in RULES]
    made["scrape_configs"] = [
        _job_at(job, addresses[job["job_name"]])
        for job in config["scrape_configs"]
        if job["job_name"] in addresses
    ]
    (peer,) = config["alerting"]["alertmanagers"]
    peer = peer | {"static_configs": [{"targets": [addresses["alertmanager"]]}]}
    made["alerting"] = {"alertmanagers": [peer]}
    return made


def _job_at(job: Mapping[str, Any], where: str | Sequence[str]) -> dict[str, Any]:
    made = {key: value for key, value in job.items() if not key.startswith(("dns_sd", "static"))}
    if "scrape_interval" in made:
        made |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    return made | {"static_configs": [{"targets": [where] if isinstance(where, str) else list(where)}]}


def impatient(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the rules without ``for``, so that alerts fire at once."""
    made = copy.deepcopy(dict(groups))
    for group in made["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
    return made


def write_prometheus(
    folder: Path, addresses: Mapping[str, str], changed: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Path:
    """Writes prometheus.yml with these addresses, and rules that are changed; returns its path."""
    made = scraped_at(load(PROMETHEUS / "prometheus.yml"), dict(addresses))
    made["rule_files"] = []
    for path in RULES:
        copied = folder / path.name
        copied.write_text(yaml.safe_dump(dict(changed(load(path)))))
        made["rule_files"].append(str(copied))
    written = folder / "prometheus.yml"
    written.write_text(json.dumps(made))
    return written


def notifying(config: Mapping[str, Any], url: str, key_file: Path, *, hasten: bool) -> dict[str, Any]:
    """Returns Alertmanager's configuration with another webhook; with `hasten` groups do not wait."""
    made = copy.deepcopy(dict(config))
    for receiver in made["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            webhook["url"] = url
            webhook["http_config"]["authorization"]["credentials_file"] = str(key_file)
    made["templates"] = [str(ALERTMANAGER / "templates" / "*.tmpl")]
    if hasten:
        _hasten(made["route"])
    return made


def _hasten(route: dict[str, Any]) -> None:
    route |= {"group_wait": "0s", "group_interval": "1s"}
    for child in route.get("routes", []):
        _hasten(child)


def exported(text: str) -> dict[str, set[str]]:
    """Returns the series names of a ``/metrics`` page with their labels."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", line)
        if match and not line.startswith("#"):
            bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', match[2] or "")
            found.setdefault(match[1], set()).update(re.findall(r"(\w+)=", bare))
    return found
