"""The pages agree with the repository: every path, link, test and variable that they name exists."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_NOT_OURS = {"backups", "build", "data", "node_modules"}
#: The top-level folders that belong to the project.
FOLDERS = sorted(
    path.name
    for path in ROOT.iterdir()
    if path.is_dir() and path.name[0] not in "._" and path.name not in _NOT_OURS
)
_PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})(?:/[\w.*-]+)+")


@cache
def pages() -> tuple[Path, ...]:
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return (*top, *sorted((ROOT / "docs").rglob("*.md")))


def code_in(page: Path) -> list[str]:
    """The texts between single backticks."""
    return re.findall(r"`([^`\n]+)`", page.read_text())


def paths_in(page: Path) -> set[str]:
    """The repository paths among them; ``*`` stands for any name."""
    return {path for code in code_in(page) for path in _PATH.findall(code)}


def test_every_file_and_folder_that_a_page_names_exists() -> None:
    named = {(page.name, path) for page in pages() for path in paths_in(page)}
    assert {"README.md", "CONTRIBUTING.md", "architecture.md", "runbook.md"} <= {page for page, _ in named}
    assert sorted(each for each in named if not any(ROOT.glob(each[1]))) == []


def folders_in(page: Path) -> set[str]:
    """The first column of its tables of folders."""
    return set(re.findall(r"^\| `([\w/]+)` \|", page.read_text(), re.MULTILINE))


def test_every_folder_of_the_architecture_page_exists() -> None:
    assert sorted(name for name in folders_in(ARCHITECTURE) if not (ROOT / name).is_dir()) == []


def test_the_architecture_page_has_every_folder_of_the_repository_and_every_package_of_the_services() -> None:
    packages = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "services").rglob("__init__.py")}
    assert len(packages) > 20
    assert sorted(({*FOLDERS} | packages) - folders_in(ARCHITECTURE)) == []


def test_every_test_that_a_page_names_exists() -> None:
    named = [found for page in pages() for found in _TEST.findall(page.read_text())]
    assert named
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_each_weakness_of_the_ancestor_has_a_test() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = {
        row.split("|")[1].strip(): _TEST.findall(row) for row in page.splitlines() if row.startswith("| C-")
    }
    assert list(rows) == [f"C-{number}" for number in range(1, 13)]
    assert all(rows.values()), rows


def anchors(page: Path) -> set[str]:
    """The headings of a page, in the form in which links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = page.parent / file if file else page
    return not target.exists() or (bool(anchor) and anchor not in anchors(target))


def test_every_link_has_a_target() -> None:
    links = [
        (page, link)
        for page in pages()
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if not link.startswith("http")
    ]
    assert links
    assert [f"{page.name}: {link}" for page, link in links if is_broken(page, link)] == []


#: Named in a page to say that they are not read.
_NO_VARIABLES = {"TELEGRAM_BOT_TOKEN_ALERTS", "HTTPS_PROXY", "HTTP_PROXY"}


def test_every_variable_that_a_page_names_is_a_setting_or_a_name_of_the_code() -> None:
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
