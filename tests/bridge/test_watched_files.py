"""Files that are read again when they change: what went wrong for a moment is tried again. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.bridge.events import mappings as reading
from services.bridge.events.mappings import Mappings
from services.bridge.events.templates import BadTemplatesError, Templates
from services.bridge.watched_files import WatchedFiles


class Folder:
    """A folder of mappings that are read by hand, and an error that reading them meets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mappings = Mappings({})
        self.error: Exception | None = None
        self.refused = 0
        self.watched = WatchedFiles(
            "hook_mappings", path, lambda: reading.mapping_files(path), self._take, self._count
        )

    def write(self, text: str) -> None:
        (self.path / "nas.json.j2").write_text(text)

    def _take(self) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        self.mappings.replace(reading.read_texts(self.path))
        return {"mappings": len(self.mappings.names)}

    def _count(self) -> None:
        self.refused += 1

    def title(self) -> object:
        self.watched.read()
        return self.mappings.read("nas", b"{}", {})["title"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "hooks")
    made.path.mkdir()
    made.write('{"title": "first"}')
    made.watched.begin()
    return made


def test_a_change_that_could_not_be_read_is_read_as_soon_as_it_can_be(folder: Folder) -> None:
    folder.write('{"title": "second"}')
    folder.error = PermissionError(13, "Permission denied", "nas.json.j2")
    assert [folder.title(), folder.title()] == ["first", "first"]
    assert (folder.watched.error, folder.refused) == ("Permission denied: nas.json.j2", 1)
    folder.error = None
    assert folder.title() == "second"
    assert folder.watched.error is None


def test_a_folder_that_was_away_is_no_error_once_it_is_back_unchanged(folder: Folder) -> None:
    away = folder.path.rename(folder.path.with_name("away"))
    assert folder.title() == "first"
    assert folder.watched.error is not None
    away.rename(folder.path)
    assert folder.title() == "first"
    assert folder.watched.error is None


def test_an_invalid_file_is_read_again_only_when_it_changes(folder: Folder) -> None:
    folder.write("{{")
    assert [folder.title(), folder.title()] == ["first", "first"]
    assert folder.watched.error is not None
    folder.error = AssertionError("it is read again without a change")
    assert folder.title() == "first"


@pytest.mark.parametrize(
    "text",
    ["{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "{% for a in b %}" * 30 + "{% endfor %}" * 30],
    ids=["deep brackets", "deep loops"],
)
def test_a_file_that_the_compiler_cannot_take_is_refused_and_the_next_one_is_taken(
    folder: Folder, text: str
) -> None:
    folder.write(text)
    assert folder.title() == "first"
    assert "nas.json.j2" in str(folder.watched.error)
    folder.write('{"title": "second"}')
    assert folder.title() == "second"


def test_a_failure_that_no_one_foresaw_is_shown_and_does_not_end_the_watch(folder: Folder) -> None:
    folder.write('{"title": "second"}')
    folder.error = ZeroDivisionError("division by zero")
    assert folder.title() == "first"
    assert (folder.watched.error, folder.refused) == ("ZeroDivisionError: division by zero", 1)
    folder.error = None
    folder.write('{"title": "the third"}')
    assert folder.title() == "the third"


def test_a_template_that_the_compiler_cannot_take_is_named() -> None:
    with pytest.raises(BadTemplatesError, match=r"default\.txt: it is nested too deeply \(SyntaxError"):
        Templates({"default": "{% for a in b %}" * 30 + "{% endfor %}" * 30})
