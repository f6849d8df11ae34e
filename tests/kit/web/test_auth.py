import multiprocessing
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection

from services.kit.errors import Problem
from services.kit.settings import StartError
from services.kit.web.auth import BearerAuth, SingleKey, new_key, read_or_create_key
from services.kit.web.login_blocker import FAILURES_BEFORE_BLOCK, LoginBlocker
from services.kit.web.rate_limit import SecurityMetrics
from services.kit.web.service import own_key
from tests.kit.apps import KEY, Live, kit_settings
from tests.kit.conftest import Lines
from tests.servers import ManualClock


def refusals(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("auth_failed_attempts_total")


def ask(
    path: Path,
    start: "multiprocessing.synchronize.Barrier",
    answers: "multiprocessing.Queue[tuple[str, bool]]",
) -> None:
    start.wait()
    answers.put(read_or_create_key(path))


def test_a_key_is_made_once_however_many_processes_start_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(8), context.Queue()
    processes = [context.Process(target=ask, args=(tmp_path / "a" / "key", start, answers)) for _ in range(8)]
    for process in processes:
        process.start()
    got = [answers.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert len({key for key, _ in got}) == 1
    assert [made for _, made in got].count(True) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["key"]


def test_only_the_owner_reads_the_key(tmp_path: Path) -> None:
    read_or_create_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_the_key_is_kept_over_starts(tmp_path: Path) -> None:
    first, made = read_or_create_key(tmp_path / "key")
    assert made
    assert read_or_create_key(tmp_path / "key") == (first, False)


def test_keys_are_long_differ_and_are_known_by_their_prefix() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("cct_") and len(key) >= 4 + 43 for key in keys)


@pytest.mark.parametrize("content", ["", "\n", "two words", "schl\u00fcssel"])
def test_a_key_file_that_holds_no_key_stops_the_start(content: str, tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text(content, encoding="utf-8")
    with pytest.raises(StartError) as caught:
        own_key(kit_settings(tmp_path, api_key=None))
    assert str(caught.value) == (
        f"DATA_DIR: {tmp_path}/api_key holds no secret of ours: remove it, and a new one is made"
    )


def test_a_new_key_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = own_key(kit_settings(tmp_path, api_key=None))
    assert key in capsys.readouterr().err
    assert own_key(kit_settings(tmp_path, api_key=None)) == key
    assert capsys.readouterr().err == ""


def test_a_key_from_the_settings_makes_no_file(tmp_path: Path) -> None:
    assert own_key(kit_settings(tmp_path)) == KEY
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_is_a_file_is_one_readable_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match=r"^DATA_DIR: cannot keep the API key in .*/data: "):
        own_key(kit_settings(tmp_path / "data", api_key=None))


def bearer_auth() -> tuple[BearerAuth, CollectorRegistry]:
    registry = CollectorRegistry()
    return BearerAuth(SingleKey.of(KEY), LoginBlocker(SecurityMetrics(registry), ManualClock())), registry


def caller(address: str = "192.0.2.1", forwarded: str = "") -> HTTPConnection:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return HTTPConnection({"type": "http", "client": (address, 1), "path": "/things", "headers": headers})


def answer(auth: BearerAuth, header: str | None, address: str = "192.0.2.1") -> Problem:
    with pytest.raises(Problem) as caught:
        auth.authenticate(header, caller(address))
    return caught.value


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {KEY}"])
def test_the_key_is_accepted(header: str) -> None:
    auth, registry = bearer_auth()
    assert auth.authenticate(header, caller()) == KEY
    assert refusals(registry) == 0


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"]
)
def test_anything_else_is_refused_and_counted(header: str | None) -> None:
    auth, registry = bearer_auth()
    assert answer(auth, header).status == 401
    assert refusals(registry) == 1


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "Send `Authorization: Bearer KEY`."),
        ("Bearer cct_guess", "This key is not known."),
        # What `curl -u :KEY` sends, which only some routes read.
        ("Basic OmNjdF9r", "HTTP Basic is not taken here: send `Authorization: Bearer KEY`."),
    ],
)
def test_a_refusal_says_what_to_send(header: str | None, detail: str) -> None:
    auth, _ = bearer_auth()
    assert answer(auth, header).detail == detail


def test_an_address_that_guesses_is_told_to_wait_and_every_guess_is_counted() -> None:
    auth, registry = bearer_auth()
    statuses = [answer(auth, "Bearer cct_guess").status for _ in range(FAILURES_BEFORE_BLOCK + 3)]
    assert statuses == [401] * FAILURES_BEFORE_BLOCK + [429] * 3
    refused = answer(auth, None)
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.detail == (
        "Too many failed logins from this address. A valid key is accepted all the same."
        " Send `Authorization: Bearer KEY`."
    )
    assert answer(auth, "Bearer cct_guess", "192.0.2.2").status == 401
    assert refusals(registry) == FAILURES_BEFORE_BLOCK + 5
    assert registry.get_sample_value("rate_limit_hits_total") == 4
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 1


def test_the_log_names_the_address_and_the_path_and_is_not_flooded(lines: Lines) -> None:
    auth, _ = bearer_auth()
    for _ in range(3 * FAILURES_BEFORE_BLOCK):
        answer(auth, "Bearer cct_guess")
    said = lines.all
    assert [line["event"] for line in said] == ["login_failed"] * FAILURES_BEFORE_BLOCK + ["address_blocked"]
    assert {line["address"] for line in said} == {"192.0.2.1"}
    assert said[0]["path"] == "/things"
    assert "cct_guess" not in lines.text


def test_a_right_key_is_let_in_whatever_its_neighbours_tried() -> None:
    auth, _ = bearer_auth()
    for _ in range(FAILURES_BEFORE_BLOCK + 1):
        answer(auth, "Bearer cct_guess")
    assert auth.authenticate(f"Bearer {KEY}", caller()) == KEY


@given(st.text())
def test_no_other_text_is_accepted(text: str) -> None:
    assert SingleKey.of(KEY).knows(text) is (text == KEY)


def test_the_keyring_does_not_hold_the_key_itself() -> None:
    assert KEY not in repr(SingleKey.of(KEY))


async def test_guarded_routes_want_the_key_and_public_ones_do_not(service: Live) -> None:
    assert (await service.http.get("/things/1")).status_code == 200
    assert (await service.http.get("/guarded/thing")).status_code == 401
    answer = await service.http.get("/guarded/thing", headers={"authorization": f"Bearer {KEY}"})
    assert answer.json() == {"open": True}
    assert await service.value("auth_failed_attempts_total") == 1
