"""The sandbox's parsers, compared with TDLib."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.telegram_sandbox import markup
from services.telegram_sandbox.markup import Formatted, MarkupError, detected_entities, html, markdown
from services.telegram_sandbox.markup.entity import Entity
from tests.telegram_sandbox.markup import oracle
from tests.telegram_sandbox.markup.urls import OTHER_SCHEMES, app_urls, web_urls

Parser = Callable[[str], tuple[str, list[Entity]]]

HTML_PIECES = [
    "<b>",
    "</b>",
    "<i>",
    "</i>",
    "<u>",
    "</u>",
    "<s>",
    "</s>",
    "<pre>",
    "</pre>",
    "<code>",
    "</code>",
    "<code class='language-x'>",
    "<a href='a.b'>",
    '<a href="tg://user?id=5">',
    "</a>",
    "<a>",
    "a.b",
    "x",
    "é",
    "😀",
    "&lt;",
    "&amp;",
    "&quot;",
    "&nbsp;",
    "&",
    "&#65;",
    "&#x1F600;",
    "<",
    "</>",
    ">",
    " ",
    "\n",
    '"',
    "'",
    "=",
    "<span class='tg-spoiler'>",
    "</span>",
    "<blockquote>",
    "<blockquote expandable>",
    "</blockquote>",
    "<b x=1>",
    "<b x='",
    "</b ",
    "<tg-spoiler>",
    "</tg-spoiler>",
    "<h1>",
    "<tg-emoji emoji-id='7'>",
    "</tg-emoji>",
]
MARKDOWN_PIECES = [
    "*",
    "_",
    "__",
    "~",
    "||",
    "|",
    "`",
    "```",
    "[",
    "]",
    "(a.b)",
    "(",
    ")",
    "![",
    ">",
    "**>",
    "\n",
    "\n>",
    "x",
    "é",
    "😀",
    "\\",
    " ",
    "a.b",
    "\\.",
    ".",
    "py\n",
    "(tg://user?id=5)",
    "(tg://emoji?id=7)",
    "!",
    "#",
]
SAMPLES_HTML = [
    "<b>a<i>b</i></b> x",
    "<h1>a</h1>",
    "<b>x</i>",
    "<i>x",
    "x</b>",
    "<b",
    "<a href='http://x'>z</a>",
    "<a>http://x.org</a>",
    "<pre><code class='language-py'>x</code></pre>",
    "<b></b>",
    "&nbsp;&lt;",
    "<a href=a.b>x</a>",
    "<blockquote expandable>x</blockquote>",
    "<tg-time unix='1' format='r'>x</tg-time>",
    "<tg-time unix='x'>x</tg-time>",
    "<tg-time unix='1' format='zz'>x</tg-time>",
    "<a href='HTTP://A.B:80/x'>x</a>",
    "<a href='tg:resolve'>x</a>",
    "<a href='tonsite://a.b/x'>x</a>",
    "<a href='http://[::1]/'>x</a>",
    "<a href='http://a.b:99999'>x</a>",
    "<a href='http://ä.b#f'>x</a>",
    "<a href='ftp://a.b'>x</a>",
    "&#xd83d;",
    "<tg-emoji>x</tg-emoji>",
]
SAMPLES_MARKDOWN = [
    "*a _b_*",
    "a.b",
    "*a",
    "[x](http://a.b)",
    "[x](",
    "```py\nx```",
    "`a",
    "||s||",
    ">q\n>w",
    "**>q||",
    "_a",
    "__u__",
    "~s~",
    "[x](tg://user?id=1)",
    "![x](tg://emoji?id=5368324170671202286)",
    "![t](tg://time?unix=1&format=r)",
    ">a||b||",
    "a\n>b||\nd",
    ">*a\nb",
    ">a\n\n>b",
    "`a\n>b`",
    "***a***",
    "___a___",
    "||>a||",
    "[a](b\\)c)",
    "![t](",
    "![t]",
]


def ours(parse: Parser, text: str) -> tuple[str, list[oracle.Found]] | str:
    try:
        plain, entities = parse(text)
    except MarkupError as error:
        return f"Can't parse entities: {error}"
    return plain, [_shown(plain, entity) for entity in entities]


def _shown(text: str, entity: Entity) -> oracle.Found:
    extra = entity.extra.get("user", {}).get("id") or next(iter(entity.extra.values()), None)
    return entity.type, _units(text[: entity.offset]), _units(text[entity.offset : entity.end]), extra


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def in_order(result: tuple[str, list[oracle.Found]] | str) -> Any:
    return result if isinstance(result, str) else (result[0], sorted(result[1], key=str))


@pytest.mark.parametrize("text", SAMPLES_HTML)
def test_html_is_parsed_as_by_tdlib(text: str) -> None:
    assert in_order(ours(html.parse, text)) == oracle.html(text)


@pytest.mark.parametrize("text", SAMPLES_MARKDOWN)
def test_markdown_is_parsed_as_by_tdlib(text: str) -> None:
    assert in_order(ours(markdown.parse, text)) == oracle.markdown(text)


@settings(max_examples=600)
@given(st.lists(st.sampled_from(HTML_PIECES), max_size=9).map("".join))
def test_any_html_has_tdlib_s_entities_or_its_error(text: str) -> None:
    assert in_order(ours(html.parse, text)) == oracle.html(text)


@settings(max_examples=600)
@given(st.lists(st.sampled_from(MARKDOWN_PIECES), max_size=9).map("".join))
def test_any_markdown_has_tdlib_s_entities_or_its_error(text: str) -> None:
    assert in_order(ours(markdown.parse, text)) == oracle.markdown(text)


EXTRAS: dict[str, st.SearchStrategy[Any]] = {
    "text_link": st.sampled_from(
        ["http://a.b/", "tg://user?id=7", "a.b", "http://jenkins/", "https://[::1", ""]
    ),
    "pre": st.sampled_from(["", "py", "p\ty\r"]),
    "text_mention": st.just(5),
    "custom_emoji": st.sampled_from([0, 7]),
    "date_time": st.sampled_from([-1, 0, 1]),
}
KINDS = (*EXTRAS, "bold", "italic", "underline", "strikethrough", "spoiler", "code", "blockquote")
ANY_OFFSET = st.integers(-1, 12) | st.sampled_from([1_000_000, 1_000_001])


@st.composite
def requests(draw: st.DrawFn, offsets: st.SearchStrategy[int]) -> tuple[str, list[oracle.Found]]:
    # TDLib's function for tests does not trim: the text neither begins nor ends with a space.
    text = "x" + draw(st.text(alphabet="abé😀 \n\t\r\x00\u2028\u200e\u200f\u0333", max_size=9)) + "y"
    wanted = draw(st.lists(st.sampled_from(KINDS), max_size=5))
    return text, [
        (kind, draw(offsets), draw(offsets), draw(EXTRAS[kind]) if kind in EXTRAS else None)
        for kind in wanted
    ]


def raw_entity(found: oracle.Found) -> dict[str, Any]:
    """The Bot API's entity."""
    kind, offset, length, extra = found
    more = {"user": {"id": extra}} if kind == "text_mention" else {oracle.FIELDS.get(kind, ""): extra}
    return {"type": kind, "offset": offset, "length": length} | (more if extra is not None else {})


def ours_of_request(text: str, given_entities: list[oracle.Found]) -> tuple[str, list[oracle.Found]] | str:
    try:
        cleaned = markup.clean(markup.parse(text, "", [raw_entity(one) for one in given_entities]))
    except MarkupError as error:
        return str(error)
    return cleaned.text, sorted((_shown(cleaned.text, one) for one in cleaned.entities), key=str)


@settings(max_examples=1_500)
@given(requests(ANY_OFFSET) | requests(st.integers(0, 9)) | requests(st.integers(0, 3)))
def test_any_entities_of_a_request_are_taken_or_refused_as_by_tdlib(
    request_: tuple[str, list[oracle.Found]],
) -> None:
    assert ours_of_request(*request_) == oracle.given(*request_)


def test_any_link_of_a_request_is_taken_or_refused_as_by_tdlib() -> None:
    answers: dict[str, tuple[str, list[oracle.Found]] | str] = {}

    @settings(max_examples=5_000)
    @given(web_urls() | web_urls() | web_urls(OTHER_SCHEMES) | app_urls())
    def same(url: str) -> None:
        entities = [("text_link", 0, 4, url)]
        answers[url] = oracle.given("here", entities)
        assert ours_of_request("here", entities) == answers[url]

    same()
    reasons = Counter(
        one.rpartition(": ")[2] if isinstance(one, str) else "taken" for one in answers.values()
    )
    print(f"{len(answers)} different URLs: {dict(reasons)}")  # noqa: T201 - for pytest -s
    assert len(answers) >= 2_000
    assert reasons["taken"] >= 300
    assert set(reasons) >= REASONS


REASONS = {
    "Unsupported URL protocol",
    "Wrong port number specified in the URL",
    "Wrong IPv6 address specified in the URL",
    "URL host is empty",
    "Host is invalid",
    "Wrong percent-encoded symbol in URL host",
    "Disallowed character in URL host",
    "Disallowed character in URL userinfo",
    "Unallowed characters in URL host",
    "Wrong tg URL",
    "Wrong ton URL",
    "Wrong HTTP URL",
}


@pytest.mark.parametrize(
    "url",
    ["http://jenkins/" + "x" * 40_000, "http://" + "x" * 40_000 + ".com", "https://a.b/" + "é" * 17_500],
)
def test_a_link_that_is_cut_is_read_as_by_tdlib(url: str) -> None:
    assert ours_of_request("here", [("text_link", 0, 4, url)]) == oracle.given(
        "here", [("text_link", 0, 4, url)]
    )


@pytest.mark.parametrize(
    "text",
    [
        "hi @user_name, x",
        "#tag and #tag2 #1",
        "/start@my_bot now",
        "a/b",
        "http://a.com/x?y=1.",
        "$USD $usd",
        "see https://example.org/a(b)c).",
        "mail a.b@c.de!",
        "x.example.com:8080/p",
        "foo.py bar.txt",
        "1.2.3.4",
        "1.2.3 v1.4.0",
        "http://localhost:8080",
        "tg://resolve?domain=x",
        "#ünï",
        "@ab @a__b",
        "(https://a.com)",
        "https://a.com,b",
        "path/to/file.txt /etc/passwd",
        "3/4 C# # @",
        "readme.md",
        "</b> /cmd/",
        "😀 #x 😀 @yes_you",
    ],
)
def test_links_and_similar_entities_are_detected_as_by_tdlib(text: str) -> None:
    assert sorted(
        (_shown(text, entity) for entity in detected_entities.entities(text)), key=str
    ) == oracle.found(text)


def test_entities_are_counted_in_utf_16_units() -> None:
    formatted = markup.clean(markup.parse("😀 <b>é😀</b>", "HTML", None))
    assert formatted.wire() == [{"type": "bold", "offset": 3, "length": 3}]


def test_surrounding_whitespace_is_trimmed_and_entities_move() -> None:
    formatted = markup.clean(markup.parse("  \n<b> bold </b>x \n ", "HTML", None))
    assert (formatted.text, formatted.wire()) == (" bold x", [{"type": "bold", "offset": 0, "length": 6}])


def test_control_characters_become_spaces_and_invisible_ones_are_removed() -> None:
    assert markup.clean(Formatted("a\tb\rc\u2028d\x00e")).text == "a bcd e"


def test_an_entity_of_only_whitespace_stays() -> None:
    formatted = markup.clean(Formatted("a   b", [Entity("bold", 1, 3)]))
    assert formatted.wire() == [{"type": "bold", "offset": 1, "length": 3}]


def test_links_are_not_detected_inside_code() -> None:
    formatted = markup.clean(Formatted("see a.com", [Entity("code", 0, 9)]))
    assert [entity["type"] for entity in formatted.wire()] == ["code"]


def test_only_the_first_hundred_entities_of_a_request_are_kept() -> None:
    text = "ab" * 150
    many = [Entity("code", 2 * i, 1) for i in range(150)]
    assert len(markup.clean(Formatted(text, many)).wire()) == 100


def test_raw_text_over_32_kib_is_refused_before_parsing() -> None:
    with pytest.raises(MarkupError, match=r"^Text is too long$"):
        markup.parse("😀" * 8_193, "HTML", None)


def test_an_unknown_parse_mode_is_refused() -> None:
    with pytest.raises(MarkupError, match=r"^Unsupported parse_mode$"):
        markup.parse("x", "Markup", None)


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([5], "expected an Object"),
        ([{"type": "bold", "length": 1}], 'Can\'t find field "offset"'),
        ([{"type": "bold", "offset": "x", "length": 1}], 'Field "offset" must be a valid Number'),
        ([{"type": "bold", "offset": 1.5, "length": 1}], 'Field "offset" must be a valid Number'),
        ([{"type": "bold", "offset": 2**31, "length": 1}], 'Field "offset" must be a valid Number'),
        ([{"type": "bold", "offset": "٣", "length": 1}], 'Field "offset" must be a valid Number'),
        ([{"type": "bold", "offset": None, "length": 1}], 'Field "offset" must be a Number'),
        ([{"offset": 0, "length": 1}], 'Can\'t find field "type"'),
        ([{"type": True, "offset": 0, "length": 1}], 'Field "type" must be of type String'),
        ([{"type": "", "offset": 0, "length": 1}], "Type is not specified"),
        ([{"type": "loud", "offset": 0, "length": 1}], "Unsupported type specified"),
        ([{"type": "text_link", "offset": 0, "length": 1}], 'Can\'t find field "url"'),
        ([{"type": "text_link", "offset": 0, "length": 1, "url": []}], 'Field "url" must be of type String'),
        ([{"type": "text_mention", "offset": 0, "length": 1}], 'Can\'t find field "user"'),
        (
            [{"type": "text_mention", "offset": 0, "length": 1, "user": 5}],
            'Field "user" must be of type Object',
        ),
        ([{"type": "custom_emoji", "offset": 0, "length": 1}], 'Can\'t find field "custom_emoji_id"'),
        ([{"type": "date_time", "offset": 0, "length": 1}], 'Can\'t find field "unix_time"'),
        (
            [{"type": "date_time", "offset": 0, "length": 1, "unix_time": 1, "date_time_format": "rt"}],
            "Invalid date-time format specified",
        ),
    ],
)
def test_a_wrong_field_of_an_entity_is_refused_with_the_server_s_text(
    entities: list[Any], message: str
) -> None:
    with pytest.raises(MarkupError) as refused:
        markup.parse("a😀bc", "", entities)
    assert str(refused.value) == f"Can't parse MessageEntity: {message}"


def test_a_mention_of_an_impossible_person_is_refused() -> None:
    mention = {"type": "text_mention", "offset": 0, "length": 1, "user": {"id": -5}}
    with pytest.raises(MarkupError, match=r"^User not found$"):
        markup.clean(markup.parse("a", "", [mention]))


@pytest.mark.parametrize("text", ["\u200b", "\u2800\u3000", "\ufeff\u00a0", "\U000e0020", " \n", ""])
def test_a_text_that_shows_nothing_is_empty(text: str) -> None:
    assert markup.is_empty(text)
    assert not markup.is_empty(text + "x")


def test_entities_of_a_request_keep_their_extra_fields() -> None:
    given_entities = [
        {"type": "pre", "offset": 0, "length": 2, "language": "py"},
        {"type": "text_link", "offset": 3, "length": 2, "url": "HTTP://A.org"},
        {"type": "url", "offset": 0, "length": 2},
    ]
    formatted = markup.clean(markup.parse("ab cd", "", given_entities))
    assert formatted.wire() == [
        {"type": "pre", "offset": 0, "length": 2, "language": "py"},
        {"type": "text_link", "offset": 3, "length": 2, "url": "http://a.org/"},
    ]


def test_a_mention_of_an_unknown_person_is_dropped() -> None:
    formatted = markup.clean(markup.parse('<a href="tg://user?id=5">you</a>', "HTML", None))
    assert formatted.wire() == []
    ada = {"id": 5, "is_bot": False, "first_name": "Ada"}
    assert formatted.wire(lambda _: ada) == [{"type": "text_mention", "offset": 0, "length": 3, "user": ada}]
