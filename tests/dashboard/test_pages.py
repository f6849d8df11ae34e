import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from services.dashboard import page_files
from services.kit.settings import StartError

UI = Path(page_files.__file__).parent / "ui"
INPUTS = ("index.html", "login.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")


def test_the_bundle_was_built_from_these_sources() -> None:
    digest = hashlib.sha256()
    for name in sorted([*INPUTS, *(f"src/{path.name}" for path in (UI / "src").iterdir())]):
        digest.update(f"{name}\0".encode() + (UI / name).read_bytes() + b"\0")
    made_from = json.loads((page_files.STATIC / "made_from.json").read_text())
    assert made_from["sources_sha256"] == digest.hexdigest(), (
        "the page is stale: python services/dashboard/ui/build.py"
    )


def luminance(colour: str) -> float:
    """Of ``#rrggbb``, relative, as WCAG 2 defines it."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = [
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def palettes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{([^}]*)\}", (UI / "src" / "styles.css").read_text())[:2]
    by_name = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return {"light": by_name, "dark": by_name | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_and_every_control_be_seen(scheme: str) -> None:
    """WCAG 2, level AA: 4.5 to 1 for text, 3 to 1 for what can be used."""
    palette = palettes()[scheme]
    for ground in ("ground", "surface", "raised"):
        for text in ("text", "dim", "blue", "green", "amber", "orange", "red"):
            assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
    assert contrast(palette["edge"], palette["surface"]) >= 3


def test_the_lock_names_no_addresses() -> None:
    lock = (UI / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_the_bundle_is_small_and_whole() -> None:
    sizes = {path: path.stat().st_size for path in page_files.STATIC.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 300_000
    for page in ("index.html", "login.html"):
        text = (page_files.STATIC / page).read_text()
        for asset in re.findall(r'(?:src|href)="/dashboard/(assets/[^"]+)"', text):
            assert page_files.STATIC / asset in sizes
        # Nothing of it is blocked by our own policy, and nothing comes from elsewhere.
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", text)


def test_a_page_that_was_not_built_is_one_readable_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^the dashboard's page is not built: .*index.html: No such file"):
        page_files.PageFiles(tmp_path)


def test_a_notice_on_the_login_page_is_text() -> None:
    shown = page_files.PageFiles(page_files.STATIC).login("<script>alert(1)</script>")
    assert "<script>alert" not in shown
    assert "&lt;script&gt;" in shown


async def test_the_root_tells_what_this_is_and_where_the_page_is(visitor: httpx.AsyncClient) -> None:
    about = (await visitor.get("/")).json()
    assert about["name"] == "dashboard"
    assert about["links"]["dashboard"] == "/dashboard/"
    assert about["links"]["health"] == "/health"


async def test_the_address_without_a_slash_leads_to_the_page(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/dashboard")
    assert (answer.status_code, answer.headers["location"]) == (307, "/dashboard/")


async def test_every_answer_keeps_other_peoples_code_out(viewer: httpx.AsyncClient) -> None:
    for path in ("/login", "/dashboard/", "/api/state", "/", "/metrics", "/nothing"):
        headers = (await viewer.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


async def test_assets_are_kept_for_ever_since_their_names_change(visitor: httpx.AsyncClient) -> None:
    page = (await visitor.get("/login")).text
    for asset in re.findall(r'"(/dashboard/assets/[^"]+)"', page):
        answer = await visitor.get(asset)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_nothing_but_the_assets_is_served(visitor: httpx.AsyncClient) -> None:
    inside = ("nothing.js", "../index.html", "%2e%2e/index.html", "..%2f..%2fsettings.py", "", "%00")
    for path in ("/dashboard/index.html", *(f"/dashboard/assets/{name}" for name in inside)):
        answer = await visitor.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["cache-control"] == "no-store"


async def test_a_wrong_method_is_a_problem_document(viewer: httpx.AsyncClient) -> None:
    wrong = [("DELETE", "/api/state"), ("POST", "/api/messages"), ("PUT", "/login"), ("GET", "/logout")]
    for method, path in wrong:
        answer = await viewer.request(method, path)
        assert answer.status_code == 405, path
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_gets_all_that_the_path_has(viewer: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("OPTIONS", "/login", "GET, HEAD, POST"),
        ("PUT", "/login", "GET, HEAD, POST"),
        ("DELETE", "/api/messages/1", "GET, HEAD"),
        ("GET", "/logout", "POST"),
    ):
        answer = await viewer.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


async def test_a_body_over_the_limit_is_refused(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.post("/login", data={"username": "admin", "password": "x" * 2_000_000})
    assert answer.status_code == 413
