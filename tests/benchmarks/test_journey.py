"""The journey's record and its table; the suite itself is started by ``python -m benchmarks.journey``."""

import sys
import threading
from collections.abc import Iterator

import pytest

from benchmarks import journey
from benchmarks.recorded_suite import Recorder
from services.kit import clock

EVENT = [
    ("outbox/intake/enqueue.py", "insert", 9),
    ("bridge/api.py", "post", 3),
    ("outbox/intake/enqueue.py", "insert.<locals>.<listcomp>", 12),
    ("kit/clock.py", "rfc3339", 1),
]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    recorder.install()
    yield recorder
    sys.setprofile(None)
    threading.setprofile(None)


def test_the_functions_of_services_are_recorded_in_all_threads(recorder: Recorder) -> None:
    clock.rfc3339(0.0)
    names = {name for file, name, _ in recorder.take() if file == "kit/clock.py"}
    assert "rfc3339" in names
    assert recorder.take() == []
    thread = threading.Thread(target=clock.rfc3339, args=(0.0,))
    thread.start()
    thread.join()
    assert [file for file, name, _ in recorder.take() if name == "rfc3339"] == ["kit/clock.py"]


def test_a_function_counts_that_runs_in_each_record_and_not_while_idle() -> None:
    idle = [EVENT[3]]
    assert journey.only_in([EVENT, EVENT[::-1][:3]], idle) == EVENT[1:3]


def test_the_table_counts_files_functions_and_the_files_of_each_package() -> None:
    head, _, event, _, note = journey.table({"one event": EVENT})
    assert head == "| | files | functions | by package |"
    assert event == "| one event | 3 | 4 | outbox 1, bridge 1, kit 1 |"
    assert note.endswith("without them: 3.")


def test_the_files_are_listed_in_the_order_of_first_entry() -> None:
    assert journey.files(EVENT) == [
        "  1  outbox/intake/enqueue.py (2)",
        "  2  bridge/api.py (1)",
        "  3  kit/clock.py (1)",
    ]
