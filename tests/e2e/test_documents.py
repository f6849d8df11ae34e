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


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_in(page: Path) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", page.read_text())


def anchors(page: Path) -> set[str]:
    """The headings, as they are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = page.parent / file if file else page
    return target.exists() and (not anchor or anchor in anchors(target))


def test_every_link_leads_somewhere() -> None:
    links = [
        (page, link)
        for page in pages()
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if not link.startswith("http")
    ]
    assert links
    assert [f"{page.name}: {link}" for page, link in links if not leads_somewhere(page, link)] == []


def test_every_file_that_a_document_names_exists() -> None:
    found = {
        (page.name, path)
        for page in pages()
        for code in code_in(page)
        for path in re.findall(r"\b(?:services|tests|benchmarks|prometheus|alertmanager)/[\w/.]+\.\w+", code)
    }
    assert found
    assert {(page, path) for page, path in found if not (ROOT / path).exists()} == set()


#: Named to say that it is not so.
_NO_VARIABLES = {"TELEGRAM_BOT_TOKEN_ALERTS"}


def test_every_variable_that_a_document_names_is_one() -> None:
    """A setting, one of its ``_FILE``s, or a name of the code's own."""
    settings = set(re.findall(r"^#([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    named = {
        name
        for page in pages()
        for code in code_in(page)
        for name in re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+", code)
    }
    rest = {name for name in named - _NO_VARIABLES if name.removesuffix("_FILE") not in settings}
    code = "\n".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    assert settings & named
    assert {name for name in rest if not re.search(rf"\b{name}\b", code)} == set()
