"""Links: exactly those that TDLib takes."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.outbox.telegram import links
from tests.telegram_sandbox.markup import oracle
from tests.telegram_sandbox.markup.urls import OTHER_SCHEMES, app_urls, web_urls


def _taken(url: str) -> bool:
    """Whether TDLib takes a link with the URL, given as an entity."""
    return not isinstance(oracle.given("here", [("text_link", 0, 4, url)]), str)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.5:3000/d/x",
        "https://my-host.internal/",
        "HTTPS://EXAMPLE.ORG?x=1",
        "https://[::1]:9090/graph",
        "https://münchen.example/ü",
        "tg://resolve?domain=x",
        "tg://user?id=5",
    ],
)
def test_a_link_that_telegram_takes(url: str) -> None:
    assert links.is_link(url)
    assert _taken(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://jenkins:8080/job/7",
        "http://localhost:9090/graph",
        "https://grafana/d/abc",
        "http://3f1c2b9a7d10:9093/#/silences/new",
        "https://[::1",
        "https://x.example:99999/",
        "http://.",
        "https://h.example:port/",
        "http:///x",
        "tg://",
        "https://a\0b.example/",
        "ftp://a.example/",
        "",
    ],
)
def test_a_link_that_telegram_refuses(url: str) -> None:
    assert not links.is_link(url)
    assert not _taken(url)


@pytest.mark.parametrize(
    "url",
    [
        "mailto:ada@example.org",
        "example.org",
        "http:/a.example",
        "http:a.example",
        "a:b@c.example",
        "ton://x",
    ],
)
def test_other_schemes_are_no_links_even_where_telegram_would_read_one_into_them(url: str) -> None:
    assert not links.is_link(url)


def test_what_cannot_be_sent_or_would_be_cut_is_no_link() -> None:
    start = "https://a.example/"
    assert not links.is_link(f"{start}\ud800")
    assert links.is_link(start + "x" * (links.LONGEST - len(start)))
    assert not links.is_link(start + "x" * (links.LONGEST + 1 - len(start)))


def test_any_link_is_taken_by_us_exactly_if_it_is_taken_by_tdlib() -> None:
    seen: dict[str, bool] = {}

    @settings(max_examples=5_000)
    @given(st.one_of(web_urls(), web_urls(), app_urls()))
    def same(url: str) -> None:
        seen[url] = _taken(url)
        assert links.is_link(url) == seen[url]

    same()
    counted = Counter(seen.values())
    print(f"{len(seen)} different URLs: TDLib takes {counted[True]} and refuses {counted[False]}")  # noqa: T201 - for pytest -s
    assert len(seen) >= 2_000
    assert min(counted[True], counted[False]) >= 300


@settings(max_examples=500)
@given(web_urls(OTHER_SCHEMES))
def test_of_other_schemes_nothing_is_a_link(url: str) -> None:
    assert not links.is_link(url)
