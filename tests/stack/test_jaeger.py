"""jaeger/: only documented keys, every part defined and used, and the expected ports.

Jaeger does not start with an unknown key, and these tests have no Jaeger.
"""

from typing import Any

import pytest

from tests.stack import config, servers

CONFIG = config.load(servers.REPOSITORY / "jaeger" / "jaeger.yaml")
SERVICES = config.load(servers.REPOSITORY / "compose.yaml")["services"]
#: Keys in the documentation of Jaeger and the OpenTelemetry Collector; names in angle brackets are free.
DOCUMENTED: dict[str, Any] = {
    "service": {
        "extensions": None,
        "pipelines": {"traces": {"receivers": None, "processors": None, "exporters": None}},
        "telemetry": {
            "resource": {"service.name": None},
            "metrics": {
                "level": None,
                "readers": {"pull": {"exporter": {"prometheus": {"host": None, "port": None}}}},
            },
            "logs": {"level": None},
        },
    },
    "extensions": {
        "healthcheckv2": {"use_v2": None, "http": {"endpoint": None}},
        "jaeger_query": {"storage": {"traces": None}},
        "jaeger_storage": {"backends": {"<name>": {"memory": {"max_traces": None}}}},
    },
    "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": None}, "http": {"endpoint": None}}}},
    "processors": {"batch": None},
    "exporters": {"jaeger_storage_exporter": {"trace_storage": None}},
}


def _unknown(node: Any, known: Any, path: str = "") -> list[str]:
    """Returns the paths of undocumented keys."""
    if isinstance(node, list) and isinstance(known, dict):
        return [each for item in node for each in _unknown(item, known, path)]
    if not isinstance(node, dict):
        return []
    if not isinstance(known, dict):
        return [path]
    found = []
    for key, value in node.items():
        here = f"{path}/{key}"
        inside = known.get(key, known.get("<name>", KeyError))
        found += [here] if inside is KeyError else _unknown(value, inside, here)
    return found


def test_every_key_is_one_that_jaeger_documents() -> None:
    assert _unknown(CONFIG, DOCUMENTED) == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"receiver": {}}, "/receiver"),
        ({"processors": {"batch": {"size": 1}}}, "/processors/batch"),
        (
            {"extensions": {"jaeger_query": {"storage": {"trace": "x"}}}},
            "/extensions/jaeger_query/storage/trace",
        ),
    ],
)
def test_a_key_that_is_not_documented_is_found(wrong: dict[str, Any], path: str) -> None:
    assert _unknown(wrong, DOCUMENTED) == [path]


def test_what_is_named_is_defined_and_what_is_defined_is_used() -> None:
    service = CONFIG["service"]
    assert set(service["extensions"]) == CONFIG["extensions"].keys()
    (pipeline,) = service["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == CONFIG[kind].keys()


def test_what_is_written_is_what_is_read() -> None:
    (backend,) = CONFIG["extensions"]["jaeger_storage"]["backends"]
    assert CONFIG["exporters"]["jaeger_storage_exporter"]["trace_storage"] == backend
    assert CONFIG["extensions"]["jaeger_query"]["storage"]["traces"] == backend


def test_it_listens_where_the_others_look_for_it() -> None:
    protocols = CONFIG["receivers"]["otlp"]["protocols"]
    published = {int(port.rsplit(":", 1)[1]) for port in SERVICES["jaeger"]["ports"]}
    assert {int(each["endpoint"].rsplit(":", 1)[1]) for each in protocols.values()} == {4317, 4318}
    assert published == {16686, 4317, 4318}
    sent_to = SERVICES["bridge"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert sent_to.endswith(f"http://jaeger:{protocols['http']['endpoint'].rsplit(':', 1)[1]}}}")

    (reader,) = CONFIG["service"]["telemetry"]["metrics"]["readers"]
    prometheus = reader["pull"]["exporter"]["prometheus"]
    jobs = config.load(config.PROMETHEUS / "prometheus.yml")["scrape_configs"]
    (job,) = [job for job in jobs if job["job_name"] == "jaeger"]
    assert job["static_configs"] == [{"targets": [f"jaeger:{prometheus['port']}"]}]

    port = CONFIG["extensions"]["healthcheckv2"]["http"]["endpoint"].rsplit(":", 1)[1]
    # The default path of healthcheckv2.
    assert SERVICES["jaeger"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/status"


def test_no_port_is_bound_to_the_container_s_loopback_alone() -> None:
    protocols = CONFIG["receivers"]["otlp"]["protocols"].values()
    assert {each["endpoint"].rsplit(":", 1)[0] for each in protocols} == {"0.0.0.0"}
