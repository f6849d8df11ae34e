import json
from typing import Any

import httpx
import pytest

from services.kit.errors import Problem
from tests.kit.apps import KEY, Live

SECRET = "cct_This-must-not-come-back"


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document, after looking at what all of them have in common."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert "Traceback" not in answer.text
    return document


async def test_a_problem_says_what_the_route_said(service: Live) -> None:
    answer = await service.http.get("/problem")
    assert told(answer, 409) == {
        "type": "about:blank",
        "title": "Not now",
        "status": 409,
        "detail": "Try later.",
        "stage": "second",
    }
    assert answer.headers["retry-after"] == "3"


async def test_a_plain_http_exception_becomes_one(service: Live) -> None:
    document = told(await service.http.get("/plain"), 403)
    assert (document["title"], document["detail"]) == ("Forbidden", "Not yours")


async def test_an_unknown_path_becomes_one(service: Live) -> None:
    assert told(await service.http.get("/nowhere"), 404)["title"] == "Not Found"


async def test_a_wrong_method_becomes_one_that_tells_the_right_ones(service: Live) -> None:
    answer = await service.http.delete("/things/1")
    assert told(answer, 405)["title"] == "Method Not Allowed"
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_missing_key_becomes_one_that_tells_how_to_send_it(service: Live) -> None:
    answer = await service.http.get("/guarded/thing")
    assert "Authorization: Bearer" in told(answer, 401)["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_wrong_field_is_named_and_its_value_is_not_repeated(service: Live) -> None:
    answer = await service.http.post("/things", json={"name": SECRET, "size": SECRET, "colour": SECRET})
    document = told(answer, 422)
    assert {tuple(entry["loc"]) for entry in document["errors"]} == {
        ("body", "name"),
        ("body", "size"),
        ("body", "colour"),
    }
    assert SECRET not in answer.text
    assert all(set(entry) == {"loc", "msg"} for entry in document["errors"])


@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "TRACE"])
async def test_a_method_that_a_path_does_not_have_is_405_with_all_that_it_has(
    service: Live, method: str
) -> None:
    for path, allowed in (("/both", "GET, HEAD, POST"), ("/things", "POST"), ("/health", "GET, HEAD")):
        answer = await service.http.request(method, path)
        told(answer, 405)
        assert answer.headers["allow"] == allowed


async def test_a_nul_is_named_in_words(service: Live) -> None:
    document = told(await service.http.post("/both", json={"name": "a\0b"}), 422)
    assert document["errors"] == [{"loc": ["body", "name"], "msg": "a text cannot have NUL (U+0000)"}]


async def test_a_rule_of_our_own_speaks_in_its_own_words(service: Live) -> None:
    document = told(await service.http.post("/things", json={"name": "Ada"}), 422)
    assert document["errors"] == [{"loc": ["body", "name"], "msg": "write it in lower case"}]


async def test_wrong_parts_of_the_path_and_the_query_are_named(service: Live) -> None:
    document = told(await service.http.get("/things/first", params={"page": "11"}), 422)
    assert [entry["loc"] for entry in document["errors"]] == [["path", "thing_id"], ["query", "page"]]


@pytest.mark.parametrize("body", [b"{", b"{'name': 1}", b"\xff\xfe", b"", b"null", b"[]", b'"text"'])
async def test_a_body_that_is_no_such_object_is_422(body: bytes, service: Live) -> None:
    answer = await service.http.post("/things", content=body, headers={"content-type": "application/json"})
    assert told(answer, 422)["errors"]


async def test_broken_json_says_where_it_breaks(service: Live) -> None:
    answer = await service.http.post(
        "/things", content=b'{"name": "ada",}', headers={"content-type": "application/json"}
    )
    (entry,) = told(answer, 422)["errors"]
    assert entry["loc"] == ["body", 15]


async def test_half_of_a_surrogate_pair_in_a_field_name_is_no_server_error(service: Live) -> None:
    answer = await service.http.post(
        "/things", content=b'{"name": "a", "\\ud800": 1}', headers={"content-type": "application/json"}
    )
    told(answer, 422)


async def test_what_nobody_foresaw_is_500_and_keeps_its_reason_to_the_log(service: Live) -> None:
    answer = await service.http.get("/fails")
    document = told(answer, 500)
    assert document["title"] == "Internal Server Error"
    assert "bot123456789" not in answer.text


async def test_a_fast_route_answers_in_the_same_words(service: Live) -> None:
    assert told(await service.http.post("/fast?problem=1"), 409)["title"] == "Not now"
    assert told(await service.http.post("/fast?fail=1"), 500)["title"] == "Internal Server Error"


async def test_a_key_that_is_not_known_is_not_repeated(service: Live) -> None:
    answer = await service.http.get("/guarded/thing", headers={"authorization": f"Bearer {KEY}x"})
    told(answer, 401)
    assert KEY not in answer.text


def test_a_problem_without_detail_has_no_empty_member() -> None:
    body = json.loads(bytes(Problem(404, "Not Found").response().body))
    assert body == {"type": "about:blank", "title": "Not Found", "status": 404}


def test_a_problem_reads_as_its_detail_where_it_is_logged() -> None:
    assert str(Problem(404, "Not Found", "No message 7.")) == "No message 7."
    assert str(Problem(404, "Not Found")) == "Not Found"
