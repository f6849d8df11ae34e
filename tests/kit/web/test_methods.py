"""HEAD is answered as GET."""

import pytest

from tests.kit.apps import KEY, Live


@pytest.mark.parametrize("path", ["/", "/things/1", "/health", "/problem", "/fails", "/nothing", "/docs"])
async def test_head_has_the_head_of_get_and_no_body(path: str, service: Live) -> None:
    got, head = await service.http.get(path), await service.http.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_head_needs_the_key_where_get_does(service: Live) -> None:
    assert (await service.http.head("/guarded/thing")).status_code == 401
    answer = await service.http.head("/guarded/thing", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200


async def test_head_of_a_route_without_get_is_no_method_of_it(service: Live) -> None:
    answer = await service.http.head("/things")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
