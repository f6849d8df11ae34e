import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.dashboard import revocations
from services.dashboard.app import create_app
from services.dashboard.login import COOKIE, SESSION_SECONDS, Authenticator, Logins, open_authenticator
from services.dashboard.login_queue import MOST_WAITING
from services.dashboard.settings import DashboardSettings
from services.kit.clock import SystemClock
from services.kit.errors import Problem
from services.kit.runner import Running, running
from services.kit.settings import StartError
from services.kit.web.login_blocker import BLOCK_SECONDS, FAILURES_BEFORE_BLOCK, LoginBlocker
from services.kit.web.rate_limit import SecurityMetrics
from tests import servers
from tests.dashboard.conftest import Settings
from tests.dashboard.suite import PASSWORD, Suite
from tests.servers import ManualClock

RIGHT = {"username": "admin", "password": PASSWORD}
WRONG = {"username": "admin", "password": "guess"}


def settings(folder: Path, **changes: Any) -> DashboardSettings:
    return DashboardSettings(**{"data_dir": folder, "password": None} | changes)


def authenticator(folder: Path, clock: ManualClock | None = None, **changes: Any) -> Authenticator:
    return open_authenticator(settings(folder, **{"password": PASSWORD} | changes), clock or ManualClock())


def test_the_right_name_and_password_match_and_nothing_else_does(tmp_path: Path) -> None:
    login = authenticator(tmp_path)
    assert login.matches("admin", PASSWORD)
    assert not login.matches("admin", PASSWORD + " ")
    assert not login.matches("Admin", PASSWORD)
    assert not login.matches("", "")
    assert not login.matches("ädmin", "pässwörd \x00")


def test_a_session_ends_after_twelve_hours(tmp_path: Path) -> None:
    clock = ManualClock()
    login = authenticator(tmp_path, clock)
    cookie, _ = login.open_session()
    clock.advance(SESSION_SECONDS - 1)
    assert login.session(cookie) is not None
    clock.advance(1)
    assert login.session(cookie) is None


async def test_a_session_that_was_closed_is_worth_nothing_to_whoever_has_the_cookie(tmp_path: Path) -> None:
    login = authenticator(tmp_path)
    cookie, session = login.open_session()
    other, _ = login.open_session()
    await login.close_session(session)
    assert login.session(cookie) is None
    assert login.session(other) is not None


async def test_a_logout_survives_a_restart_and_ends_no_other_session(tmp_path: Path) -> None:
    login = authenticator(tmp_path)
    ended, other = login.open_session(), login.open_session()
    await login.close_session(ended[1])
    restarted = authenticator(tmp_path)
    assert restarted.session(ended[0]) is None
    assert restarted.session(other[0]) is not None
    assert (tmp_path / "dashboard_revoked_sessions").stat().st_mode & 0o777 == 0o600


async def test_logouts_side_by_side_are_all_stored(tmp_path: Path) -> None:
    login = authenticator(tmp_path)
    opened = [login.open_session() for _ in range(20)]
    await asyncio.gather(*(login.close_session(session) for _, session in opened))
    restarted = authenticator(tmp_path)
    assert [restarted.session(cookie) for cookie, _ in opened] == [None] * 20


async def test_a_logout_is_stored_until_the_session_would_have_expired(tmp_path: Path) -> None:
    clock = ManualClock()
    login = authenticator(tmp_path, clock)
    _, first = login.open_session()
    await login.close_session(first)
    clock.advance(SESSION_SECONDS)
    _, second = login.open_session()
    await login.close_session(second)
    stored = (tmp_path / "dashboard_revoked_sessions").read_text()
    assert first.id not in stored
    assert second.id in stored


async def test_too_many_logouts_end_older_sessions_and_revive_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "MAX_REVOKED", 3)
    clock = ManualClock()
    login = authenticator(tmp_path, clock)
    opened = []
    for _ in range(5):
        opened.append(login.open_session())
        clock.advance(1)
    for _, session in opened[1:]:
        await login.close_session(session)
    newest, _ = login.open_session()
    for current in (login, authenticator(tmp_path, clock)):
        assert [current.session(cookie) for cookie, _ in opened] == [None] * 5
        assert current.session(newest) is not None


def test_a_damaged_file_of_logouts_ends_all_sessions_once(tmp_path: Path) -> None:
    clock = ManualClock()
    cookie, _ = authenticator(tmp_path, clock).open_session()
    (tmp_path / "dashboard_revoked_sessions").write_text("{")
    restarted = authenticator(tmp_path, clock)
    assert restarted.session(cookie) is None
    clock.advance(1)
    later, _ = restarted.open_session()
    assert authenticator(tmp_path, clock).session(later) is not None


async def test_a_logout_holds_though_it_cannot_be_stored(tmp_path: Path) -> None:
    login = authenticator(tmp_path)
    cookie, session = login.open_session()
    (tmp_path / ".dashboard_revoked_sessions.draft").mkdir()
    with capture_logs() as logged:
        await login.close_session(session)
    assert login.session(cookie) is None
    assert [line["event"] for line in logged] == ["revocation_not_stored"]


@pytest.mark.parametrize("cookie", ["", "x", "a.b", "W10.x", "é", None, "." * 5000])
def test_a_forged_cookie_is_no_session(tmp_path: Path, cookie: str | None) -> None:
    assert authenticator(tmp_path).session(cookie) is None


def test_a_changed_cookie_is_no_session(tmp_path: Path) -> None:
    login = authenticator(tmp_path)
    cookie, _ = login.open_session()
    assert login.session("A" + cookie[1:]) is None
    assert login.session(cookie[:-2]) is None


def test_a_restart_keeps_people_logged_in(tmp_path: Path) -> None:
    cookie, _ = authenticator(tmp_path).open_session()
    assert authenticator(tmp_path).session(cookie) is not None


def test_another_password_or_name_logs_everybody_out(tmp_path: Path) -> None:
    cookie, _ = authenticator(tmp_path).open_session()
    assert authenticator(tmp_path, password="another password").session(cookie) is None
    assert authenticator(tmp_path, username="root").session(cookie) is None


def test_a_session_of_another_installation_is_none_here(tmp_path: Path) -> None:
    cookie, _ = authenticator(tmp_path / "one").open_session()
    assert authenticator(tmp_path / "two").session(cookie) is None


def test_a_password_is_made_once_printed_once_and_kept_only_as_a_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    login = open_authenticator(settings(tmp_path), SystemClock())
    found = re.search(r"dashboard login: admin / (\S+) ", capsys.readouterr().err)
    assert found
    assert login.matches("admin", found[1])
    stored = tmp_path / "dashboard_password"
    assert stored.read_text().startswith("$argon2id$")
    assert found[1] not in stored.read_text()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "dashboard_secret").stat().st_mode & 0o777 == 0o600

    again = open_authenticator(settings(tmp_path), SystemClock())
    assert capsys.readouterr().err == ""
    assert again.matches("admin", found[1])


def test_a_deleted_password_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = open_authenticator(settings(tmp_path), SystemClock())
    cookie, _ = first.open_session()
    (tmp_path / "dashboard_password").unlink()
    second = open_authenticator(settings(tmp_path), SystemClock())
    assert capsys.readouterr().err.count("dashboard login") == 2
    assert second.session(cookie) is None


def test_no_password_is_printed_where_nobody_has_to_log_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not open_authenticator(settings(tmp_path, auth_enabled=False), SystemClock()).enabled
    assert capsys.readouterr().err == ""


def test_a_data_folder_that_cannot_be_written_is_one_readable_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"^DATA_DIR: cannot keep the dashboard's login in .*file/data: "):
        open_authenticator(settings(tmp_path / "file" / "data"), SystemClock())


async def test_a_visitor_is_sent_to_the_login_page(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/dashboard/")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"
    page = await visitor.get("/login")
    assert page.status_code == 200
    assert 'type="password"' in page.text
    assert "<!--notice-->" not in page.text


async def test_logging_in_sets_a_cookie_that_scripts_and_other_sites_never_get(
    visitor: httpx.AsyncClient,
) -> None:
    answer = await visitor.post("/login", data=RIGHT)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard/"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert f"Max-Age={SESSION_SECONDS}" in cookie
    assert "Secure" not in cookie
    assert (await visitor.get("/dashboard/")).status_code == 200
    assert (await visitor.get("/login")).headers["location"] == "/dashboard/"


async def test_behind_tls_the_cookie_never_travels_without_it(
    visitor: httpx.AsyncClient, dashboard: Running
) -> None:
    origin = dashboard.url.replace("http:", "https:")
    answer = await visitor.post("/login", data=RIGHT, headers={"Origin": origin})
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(visitor: httpx.AsyncClient) -> None:
    answers = [
        await visitor.post("/login", data=attempt)
        for attempt in (WRONG, {"username": "nobody", "password": PASSWORD})
    ]
    assert answers[0].text == answers[1].text
    for answer in answers:
        assert answer.status_code == 401
        assert "That name or password is not right." in answer.text
        assert "set-cookie" not in answer.headers


async def test_an_address_that_fails_too_often_is_blocked_even_with_the_right_password(
    visitor: httpx.AsyncClient,
) -> None:
    for _ in range(FAILURES_BEFORE_BLOCK):
        assert (await visitor.post("/login", data=WRONG)).status_code == 401
    answer = await visitor.post("/login", data=RIGHT)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Too many failed logins from this address. Try again in 5 min." in answer.text
    text = (await visitor.get("/metrics")).text
    assert "suspicious_ip_blocks_total 1.0" in text
    assert f"auth_failed_attempts_total {FAILURES_BEFORE_BLOCK}.0" in text


def logins(folder: Path, clock: ManualClock) -> Logins:
    metrics = SecurityMetrics(CollectorRegistry())
    return Logins(authenticator(folder, clock), LoginBlocker(metrics, clock), metrics)


async def test_guesses_side_by_side_are_counted_one_by_one(tmp_path: Path) -> None:
    """Otherwise many guesses would be checked before the first one is counted."""
    serialised = logins(tmp_path, ManualClock())
    guesses = FAILURES_BEFORE_BLOCK + 5
    outcomes = await asyncio.gather(
        *(serialised.log_in("192.0.2.7", "admin", "guess") for _ in range(guesses)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.status for problem in refused] == [429] * 5
    assert outcomes.count(None) == FAILURES_BEFORE_BLOCK


def of_crowd(number: int) -> str:
    return f"198.51.{number // 250}.{number % 250}"


async def test_a_crowd_of_wrong_logins_keeps_no_right_one_out(tmp_path: Path) -> None:
    """As a browser does: when it is refused, it tries again after the time that it was given."""
    queue = logins(tmp_path, ManualClock())
    crowd = [asyncio.create_task(queue.log_in(of_crowd(n), "admin", "guess")) for n in range(150)]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await queue.log_in("192.0.2.7", "admin", PASSWORD)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
    outcomes = await asyncio.gather(*crowd, return_exceptions=True)
    assert outcomes.count(None) == MOST_WAITING + 1
    assert await queue.log_in("192.0.2.7", "admin", PASSWORD) is not None


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_crowd_that_goes_on_keeps_no_right_login_out(tmp_path: Path, is_known: bool) -> None:
    """An address that logged in before goes first, and so does one without failed logins."""
    queue = logins(tmp_path, ManualClock())
    if is_known:
        assert await queue.log_in("192.0.2.7", "admin", PASSWORD) is not None
    else:
        for number in range(MOST_WAITING + 2):
            assert await queue.log_in(of_crowd(number), "admin", "guess") is None
    crowd = [
        asyncio.create_task(queue.log_in(of_crowd(n), "admin", "guess")) for n in range(MOST_WAITING + 2)
    ]
    await asyncio.sleep(0)
    right = asyncio.create_task(queue.log_in("192.0.2.7", "admin", PASSWORD))
    for task in asyncio.as_completed([right, *crowd]):
        try:
            outcome = await task
        except Problem:
            continue
        if outcome is not None:
            break
    assert right.done()
    assert [task.done() for task in crowd].count(False) >= MOST_WAITING - 2
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_many_logins_of_one_address_leave_room_for_another(tmp_path: Path) -> None:
    queue = logins(tmp_path, ManualClock())
    crowd = [asyncio.create_task(queue.log_in("198.51.100.1", f"name {n}", "guess")) for n in range(50)]
    await asyncio.sleep(0)
    assert await queue.log_in("192.0.2.7", "admin", PASSWORD) is not None
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_guesses_elsewhere_do_not_lock_the_right_login_out(tmp_path: Path) -> None:
    clock = ManualClock()
    queue = logins(tmp_path, clock)
    for number in range(3):
        for _ in range(FAILURES_BEFORE_BLOCK):
            await queue.log_in(of_crowd(number), "admin", "guess")
    assert await queue.log_in("192.0.2.7", "admin", PASSWORD) is not None


async def test_guesses_for_another_name_do_not_lock_an_address_out(tmp_path: Path) -> None:
    queue = logins(tmp_path, ManualClock())
    for _ in range(FAILURES_BEFORE_BLOCK):
        await queue.log_in("192.0.2.7", "root", "guess")
    with pytest.raises(Problem):
        await queue.log_in("192.0.2.7", "root", "guess")
    assert await queue.log_in("192.0.2.7", "admin", PASSWORD) is not None


async def test_a_login_that_leaves_the_queue_passes_its_turn_on(tmp_path: Path) -> None:
    queue = logins(tmp_path, ManualClock())
    tasks = [asyncio.create_task(queue.log_in(of_crowd(n), "admin", "guess")) for n in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert await tasks[0] is None
    tasks[2].cancel()  # its turn has come by now
    assert await tasks[3] is None
    assert await queue.log_in("192.0.2.7", "admin", PASSWORD) is not None


async def test_a_block_is_for_one_address_and_ends_after_five_minutes(tmp_path: Path) -> None:
    clock = ManualClock()
    serialised = logins(tmp_path, clock)
    for _ in range(FAILURES_BEFORE_BLOCK):
        assert await serialised.log_in("192.0.2.7", "admin", "guess") is None
    assert await serialised.log_in("192.0.2.8", "admin", PASSWORD) is not None
    with pytest.raises(Problem):
        await serialised.log_in("192.0.2.7", "admin", PASSWORD)
    clock.advance(BLOCK_SECONDS)
    assert await serialised.log_in("192.0.2.7", "admin", PASSWORD) is not None


async def test_another_sites_form_can_neither_log_in_nor_out(viewer: httpx.AsyncClient) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert (await viewer.post("/login", data=RIGHT, headers=headers)).status_code == 403, headers
        assert (await viewer.post("/logout", headers=headers)).status_code == 403, headers
    assert (await viewer.get("/api/state")).status_code == 200


async def test_our_own_form_may(visitor: httpx.AsyncClient, dashboard: Running) -> None:
    headers = {"Origin": dashboard.url, "Sec-Fetch-Site": "same-origin"}
    assert (await visitor.post("/login", data=RIGHT, headers=headers)).status_code == 303


async def test_logging_out_ends_the_session_for_every_copy_of_the_cookie(viewer: httpx.AsyncClient) -> None:
    cookie = viewer.cookies[COOKIE]
    answer = await viewer.post("/logout")
    assert answer.headers["location"] == "/login"
    assert COOKIE not in viewer.cookies
    stolen = await viewer.get("/api/state", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert stolen.status_code == 401


async def test_a_stolen_cookie_is_refused_after_a_logout_and_a_restart(
    suite: Suite, make_settings: Settings
) -> None:
    async with running(create_app, make_settings(suite.url)) as up, servers.http(up.url) as viewer:
        await viewer.post("/login", data=RIGHT)
        cookie = {"Cookie": f"{COOKIE}={viewer.cookies[COOKIE]}"}
        await viewer.post("/logout")
    async with running(create_app, make_settings(suite.url)) as up, servers.http(up.url) as thief:
        assert (await thief.get("/api/state", headers=cookie)).status_code == 401


async def test_logging_out_without_a_session_is_no_error(visitor: httpx.AsyncClient) -> None:
    assert (await visitor.post("/logout")).status_code == 303


async def test_a_form_that_is_not_filled_in_is_refused_by_field(visitor: httpx.AsyncClient) -> None:
    long = {"username": "a" * 101, "password": "x"}
    for form in ({}, {"username": "admin"}, long, {"username": "", "password": ""}):
        answer = await visitor.post("/login", data=form)
        assert answer.status_code == 422, form
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["loc"][0] == "body"
        assert "a" * 101 not in answer.text
