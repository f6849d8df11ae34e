"""What the documents say is there, is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_a_document_names_exists() -> None:
    named = [
        found for page in sorted((ROOT / "docs").rglob("*.md")) for found in _TEST.findall(page.read_text())
    ]
    assert named
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_each_weakness_of_the_ancestor_has_a_test_that_holds_the_answer() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = {
        row.split("|")[1].strip(): _TEST.findall(row) for row in page.splitlines() if row.startswith("| C-")
    }
    assert list(rows) == [f"C-{number}" for number in range(1, 13)]
    assert all(rows.values()), rows
