"""Rules of docs and design that no linter knows, read off the syntax tree of every module of ours.

Each finding names its file and line. An exception to a rule stands in the rule, with its reason.
"""

import ast
import importlib
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from services.contracts.fields import Strict

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 400
#: Those that are longer may shrink, and not grow; none comes to them.
LONGER: dict[str, int] = {}
#: Declared once, in the kit, for every service.
METRIC_CLASSES = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
#: Made at each scrape by a collector of ours.
FAMILIES = {f"{name}MetricFamily" for name in METRIC_CLASSES}
#: Start-up commands that are handed an environment; they are no service and have no settings.
READS_ENVIRONMENT = {
    "services/kit/secret_files.py": "makes the secret files of a deployment before any service starts",
    "services/dashboard/ui/build.py": "builds the page, hands its own environment on to Node",
}


@dataclass(frozen=True)
class Module:
    path: str
    source: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))

    def comments(self) -> Iterator[tuple[int, str]]:
        for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string

    def strings(self) -> Iterator[ast.Constant]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node


@cache
def modules(folder: str = "services") -> tuple[Module, ...]:
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "node_modules" not in path.parts:
            source = path.read_text(encoding="utf-8")
            found.append(Module(str(path.relative_to(ROOT)), source, ast.parse(source)))
    return tuple(found)


def name_of(node: ast.expr) -> str:
    """``a.b.c`` of a name or an attribute, else empty."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_the_rules_look_at_something() -> None:
    assert len(modules()) > 50
    assert len(modules("tests")) > 10


def test_only_settings_classes_read_the_environment() -> None:
    found = [
        module.at(node)
        for module in modules()
        if module.path not in READS_ENVIRONMENT
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and name_of(node) in {"os.environ", "os.getenv", "environ", "getenv"}
    ]
    assert found == []


def test_the_exceptions_for_the_environment_are_still_needed() -> None:
    by_path = {module.path: module for module in modules()}
    stale = [
        path for path in READS_ENVIRONMENT if path not in by_path or "environ" not in by_path[path].source
    ]
    assert stale == []


def test_middleware_is_plain_asgi() -> None:
    """BaseHTTPMiddleware runs every request in a task of its own and breaks context variables."""
    names = {"BaseHTTPMiddleware", "middleware"}
    found = [
        module.at(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Name) and node.id == "BaseHTTPMiddleware")
        or (isinstance(node, ast.ImportFrom) and node.module == "starlette.middleware.base")
        or (isinstance(node, ast.Call) and name_of(node.func).rpartition(".")[2] in names)
    ]
    assert found == []


def test_no_route_or_loop_waits_in_a_blocking_way() -> None:
    """``time.sleep`` stops every request of the process. The command `cct` serves none."""
    found = [
        module.at(call)
        for module in modules()
        for call in module.calls()
        if name_of(call.func) == "time.sleep" and not module.path.startswith("services/cli/")
    ]
    assert found == []


def test_a_broad_except_raises_logs_or_says_why() -> None:
    """What does none of the three hides errors that nobody thought of."""
    found = []
    for module in modules():
        lines = module.source.splitlines()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _tells(node):
                reason = lines[node.lineno - 1].partition("# noqa: BLE001")[2].strip(" -#")
                if len(reason.split()) < 3:
                    found.append(module.at(node))
    assert found == []


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(each) for each in caught.elts)
    return caught is None or name_of(caught) in {"Exception", "BaseException"}


def _tells(handler: ast.ExceptHandler) -> bool:
    """Whether it raises, or logs the error whole."""
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and name_of(node.func) == "log.exception")
        or (isinstance(node, ast.keyword) and node.arg == "exc_info")
        for node in ast.walk(handler)
    )


def test_nothing_is_left_to_be_done() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK|WIP)\b")
    found = [
        f"{module.path}:{line}"
        for module in (*modules(), *modules("tests"))
        for line, comment in module.comments()
        if marks.search(comment)
    ]
    assert found == []


def test_no_function_is_a_stub() -> None:
    found = [
        module.at(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and "NotImplementedError" in ast.unparse(node.exc)
    ]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    found = [module.path for module in modules() if not ast.get_docstring(module.tree)]
    assert found == []


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {module.path: len(module.source.splitlines()) for module in modules()}
    limits = {path: LONGER.get(path, LONGEST_MODULE) for path in lengths}
    assert {path: length for path, length in lengths.items() if length > limits[path]} == {}
    assert [path for path in LONGER if lengths.get(path, 0) <= LONGEST_MODULE] == []


def test_metrics_are_declared_where_one_looks_for_them() -> None:
    found = [
        module.at(call)
        for module in modules()
        if not module.path.endswith("/metrics.py") and not module.path.startswith("services/kit/")
        for call in _metric_declarations(module)
    ]
    assert found == []


def test_no_metric_goes_to_the_process_wide_registry() -> None:
    """Five services share the suite's process; each must answer for itself."""
    found = [
        module.at(call)
        for module in modules()
        for call in _metric_declarations(module)
        if not any(keyword.arg in ("registry", None) for keyword in call.keywords)
    ]
    assert found == []


def _metric_declarations(module: Module) -> Iterator[ast.Call]:
    imported = {
        alias.asname or alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
    }
    for call in module.calls():
        if name_of(call.func) in METRIC_CLASSES & imported:
            yield call


#: CONTRACTS 4, of what the bridge, the kit and the relay export. Counters are declared without _total.
PROMISED = [
    "cctelegram_messages",
    "cctelegram_messages_delivered",
    "cctelegram_messages_failed",
    "cctelegram_message_duration_seconds",
    "cctelegram_telegram_api_response_seconds",
    "cctelegram_queue_depth",
    "cctelegram_oldest_message_age_seconds",
    "cctelegram_active_connections",
    "cctelegram_active_correlations",
    "cctelegram_memory_usage_bytes",
    "cctelegram_delivery_rate_percent",
    "cctelegram_retries",
    "cctelegram_dead_letters",
    "cctelegram_unknown_outcomes",
    "cctelegram_rate_limit_wait_seconds",
    "http_requests",
    "http_request_duration_seconds",
    "http_requests_errors",
    "database_query_duration_seconds",
    "database_connections_active",
    "external_api_calls",
    "external_api_duration_seconds",
    "process_cpu_usage_percent",
    "event_loop_lag_seconds",
    "auth_failed_attempts",
    "rate_limit_hits",
    "suspicious_ip_blocks",
    "cctelegram_alerts_received",
    "cctelegram_incidents",
    "cctelegram_watchdog_age_seconds",
    "websocket_connections_total",
    "websocket_messages",
    "websocket_errors",
]


@cache
def declared() -> set[str]:
    """Every metric that is declared by a literal name."""
    return {
        call.args[0].value
        for module in modules()
        for call in module.calls()
        if name_of(call.func) in METRIC_CLASSES | FAMILIES
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_metric_is_declared_under_its_name(name: str) -> None:
    assert name in declared() or f"{name}_total" in declared(), sorted(declared())


def test_metric_names_carry_their_unit_and_no_unit_is_abbreviated() -> None:
    bad = re.compile(r"(_ms|_millis(econds)?|_secs?|_mb|_kb|_pct|_count)$")
    assert [
        name for name in declared() if bad.search(name) or not re.fullmatch(r"[a-z][a-z0-9_]*", name)
    ] == []


def _help_texts() -> Iterator[tuple[str, str]]:
    """Name and HELP text of every metric that is declared by literals."""
    for module in modules():
        for call in module.calls():
            if name_of(call.func) in METRIC_CLASSES | FAMILIES and len(call.args) > 1:
                name, text = call.args[:2]
                if isinstance(name, ast.Constant) and isinstance(text, ast.Constant):
                    yield str(name.value), str(text.value)


def test_every_help_text_is_one_plain_sentence() -> None:
    """People read it in Prometheus and Grafana, without the code beside it."""
    texts = dict(_help_texts())
    assert texts.keys() == declared()
    unclear = re.compile(r"\b(told|tells?|asked|heard|said|wanted|kept|nobody|whoever)\b|[.\n]|^[a-z]")
    assert {name: text for name, text in texts.items() if unclear.search(text) or " " not in text} == {}


SECRETS: dict[str, re.Pattern[str]] = {
    "a bot token": re.compile(r"\b\d{6,}:[A-Za-z0-9_-]{30,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a key of ours": re.compile(r"\bcct_[A-Za-z0-9_-]{40,}"),
    "a key of a cloud": re.compile(r"\b(AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}|xox[bap]-[A-Za-z0-9-]{20,})"),
    "a password in a URL": re.compile(r"[a-z]+://[^/\s:@{}]+:(?!password@)[^/\s@{}]{3,}@"),
}


@pytest.mark.parametrize(("kind", "pattern"), SECRETS.items(), ids=SECRETS.keys())
def test_no_source_holds_what_looks_like_a_secret(kind: str, pattern: re.Pattern[str]) -> None:
    sandbox = "1000000001:sandbox-token-for-local-use-only"  # opens nothing but the sandbox
    found = [
        module.at(constant)
        for module in modules()
        for constant in module.strings()
        if pattern.search(str(constant.value).replace(sandbox, ""))
    ]
    assert found == [], f"looks like {kind}"


def test_every_ignore_names_its_code_and_its_reason() -> None:
    bare = re.compile(r"#\s*(noqa(?!:)|type:\s*ignore(?!\[))")
    reasoned = re.compile(r"#\s*(noqa: [A-Z]+\d+(,\s*[A-Z]+\d+)*|type: ignore\[[^\]]+\])\s*(-|#|,)\s*\S+")
    found = [
        f"{module.path}:{line}"
        for module in modules()
        for line, comment in module.comments()
        if bare.search(comment)
        or (re.search(r"noqa:|type: ignore\[", comment) and not reasoned.search(comment))
    ]
    assert found == []


def _sleeps(module: Module) -> Iterator[str]:
    """A wait of a fixed length: asyncio.sleep or time.sleep of a literal that is more than a turn."""
    for call in module.calls():
        if name_of(call.func) in {"asyncio.sleep", "time.sleep"} and call.args:
            length = call.args[0]
            inside_loop = any(
                call in ast.walk(loop)
                for loop in ast.walk(module.tree)
                if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
            )
            if isinstance(length, ast.Constant) and length.value != 0 and not inside_loop:
                yield module.at(call)


def _string_patches(module: Module) -> Iterator[str]:
    for call in module.calls():
        name = name_of(call.func)
        by_string = bool(call.args) and isinstance(call.args[0], ast.Constant)
        if name in {"mock.patch", "unittest.mock.patch", "patch"} and by_string:
            yield module.at(call)
        if name == "monkeypatch.setattr" and by_string:
            yield module.at(call)


def _skips(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and name_of(node) in {
            "pytest.skip",
            "pytest.mark.skip",
            "pytest.mark.skipif",
            "pytest.mark.xfail",
            "pytest.importorskip",
        }:
            yield module.at(node)


@pytest.mark.parametrize("rule", [_sleeps, _string_patches, _skips], ids=["sleep", "patch by string", "skip"])
def test_tests_do_not(rule: Callable[[Module], Iterator[str]]) -> None:
    assert [place for module in modules("tests") for place in rule(module)] == []


#: Where a request model is made of something else than a request, and its refusal is handled.
MAKES_REQUEST_MODELS = {
    "services/demo.py": "a client: it sends them",
    "services/client/calls/approvals.py": "the same",
    "services/client/calls/incidents.py": "the same",
    "services/client/calls/maintenance.py": "the same",
    "services/client/calls/settings.py": "the same",
    "services/client/calls/targets.py": "the same",
    **{
        f"services/cli/commands/{name}.py": "the same; what is refused is one line for its user"
        for name in (
            "ask",
            "chats",
            "doctor",
            "keys",
            "maintenance",
            "messages",
            "routes",
            "send",
            "templates",
            "trial",
        )
    },
    "services/bridge/tracking/edits.py": "of a stored event and a request; what is refused is a 422",
    "services/bridge/routes/document.py": "reads a file and stored rules; reports what is refused",
    "services/bridge/routes/active_routes.py": "the empty document",
    "services/bridge/chats/stored.py": "reads stored quiet hours, whose limits never changed",
    "services/bridge/events/render.py": "reads a stored event; shows it as it was posted if it is refused",
    "services/bridge/bots.py": "reads TELEGRAM_BOTS at the start; reports what is refused",
}


def _request_models(module: Module) -> set[str]:
    """The names of models with strict fields that the module imports or defines."""
    loaded = importlib.import_module(module.path.removesuffix(".py").replace("/", "."))
    found = inspect.getmembers(loaded, inspect.isclass)
    return {name for name, kind in found if issubclass(kind, Strict)}


def test_request_models_are_made_of_requests() -> None:
    """They validate: a handler that makes one of a stored or computed value answers 500 if it is refused."""
    found = []
    for module in modules():
        if module.path in MAKES_REQUEST_MODELS or "/contracts/" in module.path or "migrations" in module.path:
            continue
        if "Strict" not in module.source and "contracts" not in module.source:
            continue
        names = _request_models(module)
        for call in module.calls():
            name, _, method = name_of(call.func).partition(".")
            makes = name in names and method in ("", "model_validate", "model_validate_json")
            if makes and (call.args or call.keywords):
                found.append(f"{module.at(call)}: {ast.unparse(call)}")
    assert found == []
