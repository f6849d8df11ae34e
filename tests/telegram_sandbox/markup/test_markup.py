"""The sandbox's parsers, compared with TDLib."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.telegram_sandbox import markup
from services.telegram_sandbox.markup import Formatted, MarkupError, detected_entities, html, markdown
from services.telegram_sandbox.markup.entity import Entity, normalized
from tests.telegram_sandbox.markup import oracle

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


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(HTML_PIECES), max_size=9).map("".join))
def test_any_html_has_tdlib_s_entities_or_its_error(text: str) -> None:
    assert in_order(ours(html.parse, text)) == oracle.html(text)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(MARKDOWN_PIECES), max_size=9).map("".join))
def test_any_markdown_has_tdlib_s_entities_or_its_error(text: str) -> None:
    assert in_order(ours(markdown.parse, text)) == oracle.markdown(text)


TANGLED = (
    "bold",
    "italic",
    "underline",
    "strikethrough",
    "spoiler",
    "code",
    "pre",
    "text_link",
    "blockquote",
)


@st.composite
def tangles(draw: st.DrawFn) -> tuple[str, list[Entity]]:
    text = "x" + draw(st.text(alphabet="abé😀", max_size=9)) + "y"
    entities = []
    for kind in draw(st.lists(st.sampled_from(TANGLED), max_size=5)):
        begin = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(begin + 1, len(text)))
        entities.append(
            Entity(kind, begin, end - begin, {"url": "http://a.b/"} if kind == "text_link" else {})
        )
    return text, entities


@settings(max_examples=600, deadline=None)
@given(tangles())
def test_overlapping_entities_are_normalized_as_by_tdlib(tangle: tuple[str, list[Entity]]) -> None:
    text, entities = tangle
    right = sorted((_shown(text, entity) for entity in normalized(entities)), key=str)
    assert right == oracle.normalized(text, [_shown(text, entity) for entity in entities])


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
    assert (formatted.text, formatted.wire()) == ("bold x", [{"type": "bold", "offset": 0, "length": 5}])


def test_control_characters_become_spaces_and_invisible_ones_are_removed() -> None:
    assert markup.clean(Formatted("a\tb\rc\u2028d\x00e")).text == "a bcd e"


def test_an_entity_of_only_whitespace_is_dropped() -> None:
    formatted = markup.clean(Formatted("a   b", [Entity("bold", 1, 3)]))
    assert formatted.wire() == []


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
        ([5], "Can't parse MessageEntity: expected an Object"),
        ([{"type": "bold", "length": 1}], "Can't parse MessageEntity: can't find field \"offset\""),
        (
            [{"type": "bold", "offset": "x", "length": 1}],
            'Can\'t parse MessageEntity: field "offset" must be of type Number',
        ),
        ([{"offset": 0, "length": 1}], "Can't parse MessageEntity: can't find field \"type\""),
        ([{"type": "", "offset": 0, "length": 1}], "Can't parse MessageEntity: Type is not specified"),
        (
            [{"type": "loud", "offset": 0, "length": 1}],
            "Can't parse MessageEntity: Unsupported type specified",
        ),
        (
            [{"type": "text_link", "offset": 0, "length": 1}],
            "Can't parse MessageEntity: can't find field \"url\"",
        ),
        (
            [{"type": "bold", "offset": 9, "length": 1}],
            "Entity begins after the end of the text at UTF-16 offset 9",
        ),
        (
            [{"type": "bold", "offset": 1, "length": 9}],
            "Entity beginning at UTF-16 offset 1 ends after the end of the text at UTF-16 offset 10",
        ),
        (
            [{"type": "bold", "offset": 2, "length": 1}],
            "Entity begins in a middle of a UTF-16 symbol at byte offset 2",
        ),
        ([{"type": "bold", "offset": -1, "length": 1}], "Receive an entity with incorrect offset -1"),
    ],
)
def test_entities_of_a_request_are_checked(entities: list[Any], message: str) -> None:
    with pytest.raises(MarkupError) as refused:
        markup.parse("a😀bc", "", entities)
    assert str(refused.value) == message


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
