"""Webhooks of other products over HTTP: their documented payloads, signatures and deliveries; mappings."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.bridge.app import create_app
from services.bridge.events import addressed
from services.bridge.events.mapping_folder import MappingFolder
from services.bridge.ways_in.draft import Draft
from services.bridge.ways_in.hooks.sources import SOURCES
from services.kit.errors import Problem
from services.kit.settings import StartError
from tests import servers
from tests.bridge.people import Bridge, bridge_of
from tests.conftest import BridgeFactory

RECORDED = Path(__file__).parent / "recorded"
SECRET = "It's a Secret to Everybody"
MAPPING = '{"title": {{ payload.host|tojson }}, "description": {{ payload.text|tojson }}, "severity": "high"}'
EVENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("github_push", "push"): {
        "type": "git_push",
        "title": "baxterthehacker/public-repo: 1 commit pushed to main",
        "description": "0d1a26e Update README.md",
        "source": "github",
        "data": {
            "branch_name": "main",
            "author": "baxterthehacker",
            "url": "https://github.com/baxterthehacker/public-repo/compare/6113728f27ae...0d1a26e67d8f",
        },
    },
    ("github_pull_request", "pull_request"): {
        "type": "pull_request_merged",
        "title": "Codertocat/Hello-World: #2 merged: Update the README with new information.",
        "description": "by Codertocat",
        "source": "github",
        "data": {"url": "https://github.com/Codertocat/Hello-World/pull/2"},
    },
    ("github_workflow_run", "workflow_run"): {
        "type": "build_failed",
        "title": "octo-org/octo-repo: Build failure",
        "description": "by octocat",
        "source": "github",
        "severity": "high",
        "data": {"branch_name": "main", "url": "https://github.com/octo-org/octo-repo/actions/runs/30433642"},
    },
    ("github_star", "star"): {
        "type": "info_notification",
        "title": "Codertocat/Hello-World: star created",
        "description": "by Codertocat",
        "source": "github",
        "data": {"url": "https://github.com/Codertocat/Hello-World"},
    },
    ("gitlab_push", "Push Hook"): {
        "type": "git_push",
        "title": "mike/diaspora: 4 commits pushed to master",
        "description": "b6568db Update Catalan translation to e38cb41.\nby jsmith",
        "source": "gitlab",
        "data": {"branch_name": "master", "url": "http://example.com/mike/diaspora"},
    },
    ("gitlab_pipeline", "Pipeline Hook"): {
        "type": "build_failed",
        "title": "gitlab-org/gitlab-test: pipeline failed on master",
        "description": "by root",
        "source": "gitlab",
        "severity": "high",
        "data": {"url": "http://example.com/gitlab-org/gitlab-test/-/pipelines/31"},
    },
    ("grafana", ""): {
        "type": "alert_notification",
        "title": "[FIRING:1] (blue)",
        "description": "**Firing**\n\nLabels:\n - alertname = High memory usage",
        "source": "grafana",
        "severity": "medium",
        "data": {"url": "https://play.grafana.org/"},
    },
    ("sentry_issue", "issue"): {
        "type": "alert_notification",
        "title": "PYTHON-9F created: ZeroDivisionError: division by zero",
        "description": "bar in divide\nProject: python",
        "source": "sentry",
        "severity": "high",
        "data": {"url": "https://sentry.io/organizations/test-org/issues/1170820242/"},
    },
    ("uptime_kuma", ""): {
        "type": "alert_notification",
        "title": "shop is down",
        "description": "connect ECONNREFUSED 127.0.0.1:443",
        "source": "uptime-kuma",
        "severity": "high",
        "data": {"url": "https://shop.example/"},
    },
    ("healthchecks", ""): {
        "type": "alert_notification",
        "title": "nightly backup is down",
        "description": "Tags: nas prod\nrsync: exit code 23",
        "source": "healthchecks",
        "severity": "high",
        "data": {"url": "https://healthchecks.io/checks/1/details/"},
    },
}


def body_of(name: str) -> bytes:
    return (RECORDED / f"{name}.json").read_bytes()


@pytest.fixture
async def hooked(bridge_settings: BridgeFactory, tmp_path: Path) -> AsyncIterator[Bridge]:
    """A bridge with secrets, and a mapping of webhooks of `nas`."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "nas.json.j2").write_text(MAPPING)
    secrets = {f"hook_secret_{name}": SECRET for name in ("github", "gitlab", "grafana", "sentry")}
    async with bridge_of(bridge_settings(hooks_dir=folder, **secrets)) as running:
        yield running


async def event_of(bridge: Bridge, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    return dict((await bridge.client.get(answer.json()["links"]["event"])).json()["event"])


@pytest.mark.parametrize(("name", "kind"), EVENTS)
async def test_a_documented_payload_becomes_a_readable_event(hooked: Bridge, name: str, kind: str) -> None:
    source = EVENTS[name, kind]["source"]
    headers = {SOURCES[source].kind: kind} if kind else {}
    answer = await hooked.client.post(f"/hooks/{source}", content=body_of(name), headers=headers)
    assert await event_of(hooked, answer) == EVENTS[name, kind]


def digest(text: bytes) -> str:
    return hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()


def proofs(body: bytes) -> list[tuple[str, dict[str, str]]]:
    """What each product sends to prove itself."""
    timed = {
        "X-Grafana-Alerting-Timestamp": "1769846400",
        "X-Grafana-Alerting-Signature": digest(b"1769846400:" + body),
    }
    return [
        ("github", {"X-Hub-Signature-256": f"sha256={digest(body)}"}),
        ("gitlab", {"X-Gitlab-Token": SECRET}),
        ("grafana", {"X-Grafana-Alerting-Signature": digest(body)}),
        ("grafana", timed),
        ("sentry", {"Sentry-Hook-Signature": digest(body)}),
    ]


def test_the_signature_is_that_of_githubs_documentation() -> None:
    """The example of docs.github.com, "Validating webhook deliveries"."""
    headers = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert SOURCES["github"].holds(headers, SECRET.encode(), b"Hello, World!", {})
    assert not SOURCES["github"].holds(headers, SECRET.encode(), b"Hello, World", {})


@pytest.mark.parametrize("number", range(5))
async def test_a_signature_needs_no_key(hooked: Bridge, number: int) -> None:
    body = b'{"action": "created"}'
    source, proof = proofs(body)[number]
    unkeyed = {"authorization": ""}
    taken = await hooked.client.post(f"/hooks/{source}", content=body, headers=proof | unkeyed)
    stored = (await hooked.client.get(taken.json()["links"]["event"])).json()
    assert (taken.status_code, stored["client"]) == (202, f"hook:{source}")
    wrong = {name: value[:-1] + ("0" if value[-1] != "0" else "1") for name, value in proof.items()}
    refused = await hooked.client.post(f"/hooks/{source}", content=body, headers=wrong)
    assert refused.status_code == 401  # a wrong signature is one, with a key too
    assert (await hooked.client.post(f"/hooks/{source}", content=body, headers=unkeyed)).status_code == 401
    assert len((await hooked.client.get("/api/v1/messages")).json()["items"]) == 1


async def test_a_signature_is_refused_while_no_secret_is_set(quick: Bridge) -> None:
    proof = {"X-Hub-Signature-256": f"sha256={digest(b'{}')}"}
    answer = await quick.client.post("/hooks/github", content=b"{}", headers=proof)
    assert (answer.status_code, answer.json()["detail"]) == (401, "HOOK_SECRET_GITHUB is not set.")


async def test_a_delivery_that_is_repeated_is_stored_once(hooked: Bridge) -> None:
    body = body_of("github_push")
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature-256": f"sha256={digest(body)}",
        "authorization": "",
    }
    first = await hooked.client.post("/hooks/github", content=body, headers=headers)
    again = await hooked.client.post("/hooks/github", content=body, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(quick: Bridge, body: bytes) -> None:
    for source in SOURCES:
        answer = await quick.client.post(f"/hooks/{source}", content=body)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body"]), source


async def test_an_unknown_source_is_404_and_names_the_others(quick: Bridge) -> None:
    answer = await quick.client.post("/hooks/gitbucket", content=b"{}")
    assert (answer.status_code, "uptime-kuma" in answer.json()["detail"]) == (404, True)


async def test_a_mapping_makes_the_event_and_a_preview_shows_it(hooked: Bridge) -> None:
    payload = {"host": 'n"as', "text": "disk is full"}
    shown = await hooked.client.post("/api/v1/hooks/nas/preview", json=payload)
    event = {
        "type": "webhook_received",
        "title": 'n"as',
        "description": "disk is full",
        "source": "nas",
        "severity": "high",
    }
    assert (shown.status_code, shown.json()["event"]) == (200, event)
    assert shown.json()["preview"]["parts"][0]["text"].startswith('🪝 n"as\n\ndisk is full')
    assert (await hooked.client.get("/api/v1/messages")).json()["items"] == []
    assert await event_of(hooked, await hooked.client.post("/hooks/nas", json=payload)) == event


async def test_a_preview_shows_the_event_of_a_product(quick: Bridge) -> None:
    answer = await quick.client.post("/api/v1/hooks/uptime-kuma/preview", content=body_of("uptime_kuma"))
    assert answer.json()["event"] == EVENTS["uptime_kuma", ""]


@pytest.mark.parametrize(
    ("mapping", "payload", "loc"),
    [
        (MAPPING, b"{", ["body"]),
        (MAPPING, b"{}", ["title"]),
        ("{{ payload.a.b.c }}", b"{}", ["mapping"]),
        ("[]", b"{}", ["mapping"]),
        ("{{ 1 / 0 }}", b"{}", ["mapping"]),
        ("{{ ''.__class__.__mro__ }}", b"{}", ["mapping"]),
        ('{"title": "x", "titel": "y"}', b"{}", ["titel"]),
    ],
)
async def test_a_mapping_that_fails_says_where(
    bridge_settings: BridgeFactory, tmp_path: Path, mapping: str, payload: bytes, loc: list[str]
) -> None:
    (tmp_path / "nas.json.j2").write_text(mapping)
    async with bridge_of(bridge_settings(hooks_dir=tmp_path)) as bridge:
        for path in ("/hooks/nas", "/api/v1/hooks/nas/preview"):
            answer = await bridge.client.post(path, content=payload)
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.json.j2", "{{", "line 1"),
        ("github.json.j2", "{}", "no source"),
        ("A B.json.j2", "{}", "no source"),
    ],
)
def test_a_mapping_that_cannot_work_stops_the_start(
    bridge_settings: BridgeFactory, tmp_path: Path, name: str, text: str, part: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StartError, match=part):
        create_app(bridge_settings(hooks_dir=tmp_path))


def test_a_folder_of_mappings_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="HOOKS_DIR"):
        MappingFolder(tmp_path / "none", ())


async def test_a_changed_mapping_is_used_and_an_invalid_one_is_not(
    bridge_settings: BridgeFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "hooks"
    folder.mkdir()
    written = folder / "nas.json.j2"
    written.write_text('{"title": "first {{ payload.name }}"}')

    async with bridge_of(bridge_settings(hooks_dir=folder)) as bridge:

        async def title(source: str = "nas") -> str:
            answer = await bridge.client.post(f"/api/v1/hooks/{source}/preview", json={"name": "disk"})
            return str(answer.json()["event"]["title"]) if answer.status_code == 200 else ""

        async def is_second() -> bool:
            return await title() == "second disk" and await title("ups") == "ups"

        async def is_degraded() -> bool:
            component = (await bridge.client.get("/health")).json()["components"]["hook_mappings"]
            return component["status"] == "degraded" and "nas.json.j2, line 1" in component["error"]

        assert await title() == "first disk"
        written.write_text('{"title": "second {{ payload.name }}"}')
        (folder / "ups.json.j2").write_text('{"title": "ups"}')
        await servers.until(is_second)
        written.write_text("{{")
        await servers.until(is_degraded)
        assert await title() == "second disk"
        written.write_text('{"title": "third"}')

        async def is_third() -> bool:
            return await title() == "third"

        await servers.until(is_third)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = [
    *("action", "status", "title", "msg", "ref", "commits", "repository", "pull_request", "issue", "data"),
    *("object_kind", "object_attributes", "project", "alerts", "commonLabels", "externalURL", "heartbeat"),
    *("monitor", "name", "workflow_run", "number", "merged", "forced", "url"),
]


@given(st.sampled_from(sorted(SOURCES)), st.sampled_from(["push", "pull_request", "issue", "x"]), st.data())
def test_whatever_a_payload_holds_it_becomes_an_event(source: str, kind: str, data: st.DataObject) -> None:
    """A webhook that is refused is lost."""
    payload = data.draw(st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=6))
    try:
        body = orjson.dumps(payload)
    except TypeError:  # an integer of more than 64 bits, or half of a surrogate pair
        return
    try:
        event = SOURCES[source].read(body, kind)
        addressed.parse(Draft({**event, "source": source}, {}).json())
    except (ValidationError, Problem) as error:
        raise AssertionError(payload) from error
