"""Metrics are open until a setting closes them: to those without a token or password, or from elsewhere."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.kit.http_client import InternalMark
from services.kit.settings import StartError, load
from services.kit.web.internal import own_mark
from services.kit.web.login_blocker import FAILURES_BEFORE_BLOCK
from tests.kit.apps import KEY, KitSettings, kit_settings, live

TOKEN, PASSWORD = "token-of-prometheus", "password-of-prometheus"


Headers = dict[str, str]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(password: str, user: str = "prometheus") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def statuses(folder: Path, *requests: dict[str, str], **settings: Any) -> list[int]:
    async with live(folder, **settings) as service:
        return [(await service.http.get("/metrics", headers=headers)).status_code for headers in requests]


async def test_without_a_setting_anyone_reads_the_metrics(tmp_path: Path) -> None:
    assert await statuses(tmp_path, {}, bearer("anything at all")) == [200, 200]


async def test_a_token_closes_the_metrics_to_all_without_it(tmp_path: Path) -> None:
    asked: tuple[Headers, ...] = ({}, bearer("another-long-token"), basic(TOKEN), bearer(TOKEN), bearer(KEY))
    found = await statuses(tmp_path, *asked, metrics_bearer_token=SecretStr(TOKEN))
    assert found == [401, 401, 401, 200, 200]


async def test_a_user_and_a_password_close_them_too(tmp_path: Path) -> None:
    asked: tuple[Headers, ...] = (
        {},
        basic("another-long-password"),
        basic(PASSWORD, "somebody"),
        bearer(PASSWORD),
        basic(PASSWORD),
    )
    found = await statuses(tmp_path, *asked, metrics_basic_auth=SecretStr(f"prometheus:{PASSWORD}"))
    assert found == [401, 401, 401, 401, 200]


async def test_of_a_token_and_a_password_either_is_enough(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "metrics_bearer_token": SecretStr(TOKEN),
        "metrics_basic_auth": SecretStr(f"prometheus:{PASSWORD}"),
    }
    asked: tuple[Headers, ...] = ({}, bearer(TOKEN), basic(PASSWORD))
    assert await statuses(tmp_path, *asked, **settings) == [401, 200, 200]


async def test_other_networks_are_refused(tmp_path: Path) -> None:
    assert await statuses(tmp_path, {}, metrics_allowed_networks=("127.0.0.0/8", "10.0.0.0/8")) == [200]
    closed = await statuses(tmp_path, {}, bearer(KEY), metrics_allowed_networks=("10.0.0.0/8",))
    assert closed == [403, 403]


async def test_the_address_is_that_of_the_client_behind_a_proxy(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "metrics_allowed_networks": ("10.0.0.0/8",),
        "forwarded_allow_ips": ("127.0.0.1",),
    }
    asked: tuple[Headers, ...] = ({"X-Forwarded-For": "10.1.2.3"}, {"X-Forwarded-For": "192.0.2.1"}, {})
    assert await statuses(tmp_path, *asked, **settings) == [200, 403, 403]


async def test_both_locks_must_be_passed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "metrics_allowed_networks": ("10.0.0.0/8",),
        "metrics_bearer_token": SecretStr(TOKEN),
    }
    assert await statuses(tmp_path, bearer(TOKEN), **settings) == [403]
    settings["metrics_allowed_networks"] = ("127.0.0.1",)
    assert await statuses(tmp_path, bearer(TOKEN), {}, **settings) == [200, 401]


async def test_the_suite_itself_passes_both(tmp_path: Path) -> None:
    mark = own_mark(kit_settings(tmp_path), "mcp-health")
    forged = InternalMark("mcp-health", "cct_forged-internal-key")
    asked: tuple[Headers, ...] = (mark.headers, forged.headers)
    settings: dict[str, Any] = {
        "metrics_allowed_networks": ("10.0.0.0/8",),
        "metrics_bearer_token": SecretStr(TOKEN),
    }
    assert await statuses(tmp_path, *asked, **settings) == [200, 403]


async def test_what_a_load_balancer_reads_stays_open(tmp_path: Path) -> None:
    async with live(tmp_path, metrics_bearer_token=SecretStr(TOKEN)) as service:
        for path in ("/health", "/health/live", "/health/ready", "/"):
            assert (await service.http.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    ("settings", "scheme"),
    [
        ({"metrics_bearer_token": SecretStr(TOKEN)}, "Bearer"),
        (
            {"metrics_basic_auth": SecretStr(f"prometheus:{PASSWORD}")},
            'Basic realm="metrics", charset="UTF-8"',
        ),
    ],
)
async def test_a_refusal_names_the_scheme_and_counts_as_a_failed_login(
    tmp_path: Path, settings: dict[str, Any], scheme: str
) -> None:
    async with live(tmp_path, **settings) as service:
        answers: list[httpx.Response] = [
            await service.http.get("/metrics", headers=bearer("wrong"))
            for _ in range(FAILURES_BEFORE_BLOCK + 1)
        ]
        assert answers[0].headers["www-authenticate"] == scheme
        assert answers[0].headers["content-type"] == "application/problem+json"
        assert [answer.status_code for answer in answers] == [401] * FAILURES_BEFORE_BLOCK + [429]
        right = bearer(TOKEN) if scheme == "Bearer" else basic(PASSWORD)
        page = (await service.http.get("/metrics", headers=right)).text
        assert f"auth_failed_attempts_total {FAILURES_BEFORE_BLOCK + 1}.0" in page


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("METRICS_BEARER_TOKEN", "short"),
        ("METRICS_BASIC_AUTH", "prometheus"),
        ("METRICS_BASIC_AUTH", "prometheus:short"),
        ("METRICS_BASIC_AUTH", ":a-long-enough-password"),
        ("METRICS_ALLOWED_NETWORKS", "10.0.0.0/33"),
    ],
)
def test_a_lock_that_would_not_hold_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartError) as caught:
        load(KitSettings)
    assert str(caught.value).startswith(f"{variable}: ")
    assert value not in str(caught.value) or variable == "METRICS_ALLOWED_NETWORKS"
