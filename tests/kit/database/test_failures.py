import sqlite3

import asyncpg
import pytest
from sqlalchemy.exc import OperationalError

from services.kit.database.failures import Failures, is_corruption


@pytest.fixture
def failures() -> Failures:
    return Failures()


FULL = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


def corrupt() -> OperationalError:
    cause = sqlite3.DatabaseError("database disk image is malformed")
    cause.sqlite_errorcode = 0x20B  # an extended code: SQLITE_CORRUPT_SEQUENCE
    return OperationalError("INSERT", {}, cause)


def test_nothing_stands_at_first(failures: Failures) -> None:
    assert failures.standing is None
    assert not failures.noticed.is_set()
    assert not failures.can_heal


def test_a_failed_write_stands_until_the_same_work_succeeds(failures: Failures) -> None:
    failures.write_failed("enqueue", FULL)
    failures.write_succeeded("renew")
    assert failures.standing == "database or disk is full"
    failures.write_succeeded("enqueue")
    assert failures.standing is None


def test_a_trial_ends_every_failure_but_corruption(failures: Failures) -> None:
    failures.write_failed("enqueue", FULL)
    failures.write_failed("renew", OSError("gone"))
    assert (failures.standing, failures.can_heal) == ("gone", True)
    failures.trial_succeeded()
    assert failures.standing is None
    failures.write_failed("enqueue", corrupt())
    assert not failures.can_heal
    failures.trial_succeeded()
    failures.write_succeeded("enqueue")
    assert failures.standing == "database disk image is malformed"


def test_a_failed_read_is_measured_again_and_stands_only_where_it_found_corruption(
    failures: Failures,
) -> None:
    failures.read_failed(ConnectionError("reset"))
    assert failures.noticed.is_set()
    assert failures.standing is None
    failures.read_failed(corrupt())
    assert failures.standing == "database disk image is malformed"


def test_only_the_first_failure_wakes_the_measurement(failures: Failures) -> None:
    failures.write_failed("enqueue", FULL)
    failures.noticed.clear()
    failures.write_failed("enqueue", FULL)
    failures.write_failed("renew", FULL)
    assert not failures.noticed.is_set()


@pytest.mark.parametrize(
    ("error", "corrupted"),
    [
        (corrupt(), True),
        (FULL, False),
        (asyncpg.DataCorruptedError("invalid page in block 7"), True),
        (asyncpg.IndexCorruptedError("a left-link is wrong"), True),
        (asyncpg.DiskFullError("could not extend file"), False),
        (OSError("gone"), False),
    ],
)
def test_corruption_is_what_the_database_calls_so(error: BaseException, corrupted: bool) -> None:
    assert is_corruption(error) is corrupted
