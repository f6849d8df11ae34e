import json
from typing import Any

import pytest
from fastapi import Request
from starlette.responses import Response

from services.contracts.health import ControlStatus
from services.mcp_health import auth_probe
from services.mcp_health.auth_probe import AuthFindings, AuthProbe, LoginFailures, ProbeResponse
from services.mcp_health.probes import CallError
from tests.mcp_health.neighbours import (
    KEY,
    NOW,
    Neighbour,
    calling,
    service_of_ours,
    serving,
    unused_port,
)


async def measured(service: Neighbour) -> AuthFindings:
    async with serving(service), calling(service.url) as client:
        return await AuthProbe().measure(client, NOW)


def document(**paths: Any) -> bytes:
    return json.dumps(
        {"paths": {f"/{path.replace('__', '/')}": found for path, found in paths.items()}}
    ).encode()


async def test_a_service_that_refuses_passes_and_names_what_was_asked() -> None:
    found = await measured(service_of_ours())
    assert found.access.status is ControlStatus.PASSED
    assert found.access.measured_at == NOW
    assert found.access.evidence == {
        "routes": 1,
        "asked": 1,
        "answers": {"/api/v1/messages": {"without_key": 401, "wrong_key": 401}},
    }


async def test_two_calls_a_round_and_no_more_where_each_counts_as_a_failed_login() -> None:
    service = service_of_ours(believes=False)
    await measured(service)
    calls = [request for request in service.requests if request.url.path == "/api/v1/messages"]
    assert [request.headers.get("authorization", "") != "" for request in calls] == [False, True]


async def test_the_wrong_key_looks_like_ours_and_is_another_one_each_time() -> None:
    service = service_of_ours()
    await measured(service)
    await measured(service)
    keys = {
        request.headers["authorization"] for request in service.requests if "authorization" in request.headers
    }
    assert len(keys) == 2
    assert all(key.startswith("Bearer cct_") and KEY not in key for key in keys)


async def test_a_route_that_lets_anybody_in_fails() -> None:
    service = service_of_ours()
    service.answers_json("/api/v1/messages", {"items": []})
    found = await measured(service)
    assert found.access.status is ControlStatus.FAILED
    assert found.access.evidence["answers"]["/api/v1/messages"]["without_key"] == 200


async def test_a_route_that_takes_any_key_fails() -> None:
    service = service_of_ours()

    async def takes_any(request: Request) -> Response:
        return Response(status_code=200 if "authorization" in request.headers else 401)

    service.answers["/api/v1/messages"] = takes_any
    assert (await measured(service)).access.status is ControlStatus.FAILED


async def test_a_route_that_looks_at_the_input_before_the_key_fails() -> None:
    service = service_of_ours()
    service.answers_json("/api/v1/messages", {"errors": []}, 422)
    assert (await measured(service)).access.status is ControlStatus.FAILED


async def test_a_redirect_to_the_login_is_a_refusal() -> None:
    dashboard = service_of_ours()
    dashboard.answers_body("/api/v1/messages", "", 303, location="/login?next=/dashboard/")
    assert (await measured(dashboard)).access.status is ControlStatus.PASSED


async def test_a_redirect_to_elsewhere_is_none() -> None:
    dashboard = service_of_ours()
    dashboard.answers_body("/api/v1/messages", "", 307, location="/api/v2/messages")
    assert (await measured(dashboard)).access.status is ControlStatus.FAILED


@pytest.mark.parametrize("status", [404, 405, 429, 500, 503])
async def test_an_answer_that_says_nothing_of_keys_is_unknown(status: int) -> None:
    service = service_of_ours()
    service.answers_json("/api/v1/messages", {}, status)
    found = await measured(service)
    assert found.access.status is ControlStatus.UNKNOWN
    assert found.refusals.status is ControlStatus.UNKNOWN


async def test_a_service_without_a_protected_route_is_unknown_and_not_open() -> None:
    service = service_of_ours()
    service.answers_json("/openapi.json", {"paths": {"/health": {"get": {}}}})
    found = await measured(service)
    assert found.access.status is ControlStatus.UNKNOWN
    assert found.identifiers.status is ControlStatus.PASSED


def several_routes(*, believes: bool) -> Neighbour:
    """A service with the protected routes a to c; b lets everybody in."""
    service = service_of_ours(believes=believes)
    paths: dict[str, Any] = {f"/api/{name}": {"get": {}} for name in ("a", "b", "c")}
    service.answers_json("/openapi.json", {"paths": paths})
    for path in ("/api/a", "/api/c"):
        service.answers[path] = service.answers["/api/v1/messages"]
    service.answers_json("/api/b", {})
    return service


async def rounds(service: Neighbour, count: int) -> list[AuthFindings]:
    probe = AuthProbe()
    async with serving(service), calling(service.url) as client:
        return [await probe.measure(client, NOW + number) for number in range(count)]


def called(service: Neighbour) -> list[str]:
    """The protected routes in the order of the calls, two calls each."""
    return [path for path in service.paths() if path.startswith("/api/")][::2]


async def test_the_first_round_tests_every_route_and_later_ones_one_each() -> None:
    service = several_routes(believes=True)
    found = await rounds(service, 3)
    assert [each.access.status for each in found] == [ControlStatus.FAILED] * 3
    assert found[0].access.evidence["asked"] == 3
    assert called(service) == ["/api/a", "/api/b", "/api/c", "/api/a", "/api/b"]


async def test_where_calls_count_as_failed_logins_each_round_tests_one_route_and_none_is_forgotten() -> None:
    service = several_routes(believes=False)
    found = await rounds(service, 4)
    assert [each.access.status for each in found] == [
        ControlStatus.UNKNOWN,
        ControlStatus.FAILED,
        ControlStatus.FAILED,
        ControlStatus.FAILED,
    ]
    assert called(service) == ["/api/a", "/api/b", "/api/c", "/api/a"]


def test_routes_that_were_not_tested_yet_are_unknown() -> None:
    refused = (ProbeResponse(401), ProbeResponse(401))
    assert auth_probe.access({"/a": refused}, 2, NOW).status is ControlStatus.UNKNOWN
    assert auth_probe.access({"/a": refused, "/b": refused}, 2, NOW).status is ControlStatus.PASSED


def test_a_route_that_is_gone_is_forgotten() -> None:
    probe = AuthProbe()
    probe.record("/api/old", ProbeResponse(200), ProbeResponse(200))
    assert probe.next_route(("/api/new",)) == "/api/new"
    assert probe.responses == {}


def test_without_routes_there_is_none_to_ask() -> None:
    assert AuthProbe().next_route(()) is None


async def test_a_service_that_is_not_there_cannot_be_measured() -> None:
    async with calling(await unused_port()) as client:
        with pytest.raises(CallError, match="cannot connect"):
            await AuthProbe().measure(client, NOW)


async def test_a_service_without_metrics_cannot_be_measured() -> None:
    service = service_of_ours()
    del service.answers["/metrics"]
    with pytest.raises(CallError, match="/metrics answered 404"):
        await measured(service)


def test_protected_routes_are_those_that_want_a_key_or_lie_below_api() -> None:
    found = auth_probe.protected_routes(
        document(
            health={"get": {}},
            stats={"get": {"security": [{"HTTPBearer": []}]}},
            api__state={"get": {}},
            api__events={"post": {"security": [{"HTTPBearer": []}]}},
        )
    )
    assert found == ("/api/state", "/stats")


def test_a_route_with_an_id_in_its_path_is_not_asked() -> None:
    assert auth_probe.protected_routes(b'{"paths": {"/api/messages/{id}": {"get": {}}}}') == ()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"<html>", b'{"paths": []}', b'{"paths": {"/api/x": 1}}']
)
def test_what_is_no_openapi_document_names_no_route(body: bytes) -> None:
    assert auth_probe.protected_routes(body) == ()


@pytest.mark.parametrize(("believes", "probes", "logins"), [(True, 2.0, 0.0), (False, 0.0, 2.0)])
async def test_a_refusal_that_is_counted_passes(believes: bool, probes: float, logins: float) -> None:
    found = await measured(service_of_ours(failed_logins=7, believes=believes))
    assert found.refusals.status is ControlStatus.PASSED
    assert found.refusals.evidence == {
        "refused": 2,
        "auth_probes_refused_total_grew_by": probes,
        "auth_failed_attempts_total_grew_by": logins,
    }


@pytest.mark.parametrize("grown", [0.0, 1.0])
def test_a_refusal_that_is_not_counted_fails(grown: float) -> None:
    after = [LoginFailures(7.0, 5.0 + grown, "1")] * 2
    found = auth_probe.refusals(LoginFailures(7.0, 5.0, "1"), after, refused=2, now=NOW)
    assert found.status is ControlStatus.FAILED
    assert found.evidence["auth_probes_refused_total_grew_by"] == grown


def test_somebody_else_s_failed_login_meanwhile_does_not_confuse() -> None:
    after = [LoginFailures(9.0, 2.0, "1"), LoginFailures(10.0, 2.0, "1")]
    assert auth_probe.refusals(LoginFailures(5.0, 0.0, "1"), after, 2, NOW).status is ControlStatus.PASSED


def test_a_service_that_does_not_export_the_counter_fails() -> None:
    nothing = auth_probe.login_failures("up 1\n")
    assert auth_probe.refusals(nothing, [nothing, nothing], 2, NOW).status is ControlStatus.FAILED


def test_behind_a_load_balancer_another_replica_may_have_counted_it() -> None:
    found = auth_probe.refusals(
        LoginFailures(5.0, 0.0, "1"),
        [LoginFailures(0.0, 0.0, "2"), LoginFailures(5.0, 0.0, "1")],
        2,
        NOW,
    )
    assert found.status is ControlStatus.UNKNOWN
    assert found.evidence == {"reason": "several replicas answer"}


def test_nothing_refused_is_nothing_to_count() -> None:
    assert (
        auth_probe.refusals(LoginFailures(5.0, 0.0, "1"), [LoginFailures(5.0, 0.0, "1")], 0, NOW).status
        is ControlStatus.UNKNOWN
    )


def test_the_counter_is_found_among_other_metrics() -> None:
    text = (
        "# TYPE auth_failed_attempts_total counter\n"
        "not_auth_failed_attempts_total 9.0\n"
        'auth_failed_attempts_total{service="bridge"} 3.0\n'
        "auth_probes_refused_total 4.0\n"
        "process_start_time_seconds 1.76e+09\n"
    )
    assert auth_probe.login_failures(text) == LoginFailures(3.0, 4.0, "1.76e+09")


@pytest.mark.parametrize(
    "line",
    [
        'messages_total{chat_id="42"} 1',
        'messages_total{type="x",user_id="alice"} 1',
        'messages_total{chat="-1001234567890"} 1',
        'messages_total{username="bob"} 1',
        'calls_total{endpoint="/bot1000000001:AAEhBP0av28fjk-verysecret-verysec/sendMessage"} 1',
        'calls_total{key="cct_abcdefghijklmnopqrstuvwxyz"} 1',
    ],
)
def test_a_metric_with_a_person_a_chat_or_a_secret_fails_and_is_named_without_it(line: str) -> None:
    found = auth_probe.identifiers(f"up 1\n{line}\n", NOW)
    assert found.status is ControlStatus.FAILED
    assert found.evidence == {"samples_read": 2, "metrics_with_identifiers": [line.partition("{")[0]]}


@pytest.mark.parametrize(
    "line",
    [
        'http_requests_total{handler="/api/v1/messages/{id}",method="GET",status="2xx"} 12',
        'cctelegram_messages_total{type="task_completion",category="task"} 1e+06',
        "process_start_time_seconds 1.76722560012e+09",
        "process_resident_memory_bytes 1001234567890",
        'external_api_calls_total{provider="telegram",endpoint="sendMessage",status_code="200"} 3',
        'python_info{version="3.11.7"} 1',
    ],
)
def test_ordinary_metrics_hold_no_identifiers(line: str) -> None:
    assert auth_probe.identifiers(line, NOW).status is ControlStatus.PASSED


def test_no_metrics_at_all_tell_nothing() -> None:
    assert auth_probe.identifiers("# nothing\n", NOW).status is ControlStatus.UNKNOWN


def test_a_knock_is_a_refusal_only_when_it_is_one() -> None:
    assert {status: ProbeResponse(status).result for status in (200, 204, 302, 401, 403, 422, 500)} == {
        200: ControlStatus.FAILED,
        204: ControlStatus.FAILED,
        302: ControlStatus.FAILED,
        401: ControlStatus.PASSED,
        403: ControlStatus.PASSED,
        422: ControlStatus.FAILED,
        500: ControlStatus.UNKNOWN,
    }
