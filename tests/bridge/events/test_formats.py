"""Formats: markdown and html become text and entities that Telegram takes. TDLib is the judge."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.events.formats import formatted
from services.bridge.events.marked_text import MOST_ENTITIES
from services.contracts.fields import Format, is_blank
from services.outbox.messages import Text
from services.telegram_sandbox import markup
from tests.bridge.events.test_render import message, one
from tests.telegram_sandbox.markup import oracle

#: Characters of the longest description.
LONGEST = 2_000
LINK = "http://a.example/x"


def markdown(source: str) -> Text:
    return formatted(source, Format.MARKDOWN)


def html(source: str) -> Text:
    return formatted(source, Format.HTML)


def over(text: Text) -> list[tuple[str, str]]:
    """Each entity's type, and the text that it lies over."""
    units = text.text.encode("utf-16-le")
    return [
        (e["type"], units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le"))
        for e in text.entities
    ]


def links(text: Text) -> list[str]:
    return [entity["url"] for entity in text.entities if entity["type"] == "text_link"]


def assert_telegram_takes_all_of(text: Text) -> None:
    """TDLib takes it, and Telegram's rules of nesting drop no link of it."""
    found = [(e["type"], e["offset"], e["length"], e.get("url") or e.get("language")) for e in text.entities]
    kinds = {"text_link": "textEntityTypeTextUrl"}
    entities = [
        {
            "@type": "textEntity",
            "offset": offset,
            "length": length,
            "type": {
                "@type": kinds.get(kind, f"textEntityType{oracle.BACK.get(kind, kind.capitalize())}"),
                **({oracle.FIELDS[kind]: extra} if extra else {}),
            },
        }
        for kind, offset, length, extra in found
    ]
    formatted_text = {"@type": "formattedText", "text": text.text, "entities": entities}
    answer = oracle.execute({"@type": "getMarkdownText", "text": formatted_text})
    assert answer["@type"] == "formattedText", answer
    shown = markup.clean(markup.parse(text.text, "", [dict(entity) for entity in text.entities]))
    kept = [entity["url"] for entity in shown.wire() if entity["type"] == "text_link"]
    assert len(kept) == len([shown for kind, shown in over(text) if kind == "text_link" and shown.strip()])


def test_markdown_is_text_and_entities() -> None:
    text = markdown("# Done\n\n**All** _214_ ~~old~~ ||secret|| `make` [log](http://a.example/x)\n\n> quoted")
    assert text.text == "Done\n\nAll 214 old secret make log\n\nquoted"
    assert set(over(text)) == {
        ("bold", "Done"),
        ("underline", "Done"),
        ("bold", "All"),
        ("italic", "214"),
        ("strikethrough", "old"),
        ("spoiler", "secret"),
        ("code", "make"),
        ("text_link", "log"),
        ("blockquote", "quoted"),
    }
    assert links(text) == [LINK]


def test_markdown_has_nested_lists_tasks_and_code_in_a_language() -> None:
    text = markdown("- a\n  - b\n    1. c\n- [ ] open\n- [x] done\n\n```py\nx = 1 < 2\n```")
    assert text.text == "• a\n  • b\n    1. c\n☐ open\n☑ done\n\nx = 1 < 2"
    assert text.entities[0]["language"] == "py"


@pytest.mark.parametrize(
    "source",
    [
        "List<String> and <b>bold</b>",
        "<div>\nhello\n</div>",
        "$HOME/$PATH",
        "[ERROR]: timeout\nsecond line",
        "snake_case_name 2 * 3 * 4",
    ],
)
def test_what_is_no_markdown_stays_as_it_was_written(source: str) -> None:
    assert markdown(source).text == source


def test_html_is_text_and_entities() -> None:
    text = html(
        "<b>All</b> <i>214</i> <u>new</u> <s>old</s> <tg-spoiler>secret</tg-spoiler> <code>make</code> "
        f'<a href="{LINK}">log</a> <blockquote>quoted</blockquote>'
    )
    assert text.text == "All 214 new old secret make log quoted"
    assert set(over(text)) == {
        ("bold", "All"),
        ("italic", "214"),
        ("underline", "new"),
        ("strikethrough", "old"),
        ("spoiler", "secret"),
        ("code", "make"),
        ("text_link", "log"),
        ("blockquote", "quoted"),
    }


def test_html_has_nested_lists_and_code_in_a_language() -> None:
    text = html("<ul><li>a<ol><li>b</li></ol></li></ul><pre><code class='language-py'>x = 1\ny</code></pre>")
    assert text.text == "• a\n\u00a01. b\n\nx = 1\ny"
    assert [entity.get("language") for entity in text.entities if entity["type"] == "pre"] == ["py"]


def test_line_ends_of_html_count_where_no_tag_makes_lines() -> None:
    assert html("<b>one</b>\ntwo\n<pre>three\nfour</pre>").text == "one\ntwo\n\nthree\nfour"
    assert html("<p>one\nstill one</p><p>two</p>").text == "one still one\n\ntwo"


def test_text_behind_a_comment_of_html_is_shown() -> None:
    assert html("a<!-- hidden -->b") == Text("ab")


@pytest.mark.parametrize(
    "source",
    [
        "if x <y then",
        "<table><tr><td>1</td></tr></table>",
        "<ol type=i start=999999999><li>a</li></ol>",
        "a <? b",
        "<title>a",
        "<ol type=x><li>a</ol>",
        "<progress value=many></progress>",
        "<b>" * 600,
        "<b></b>",
    ],
)
def test_html_that_cannot_be_shown_stays_as_it_was_written(source: str) -> None:
    assert html(source) == Text(source)


def test_a_link_that_telegram_refuses_is_written_after_its_text() -> None:
    wanted = Text("see log (http://jenkins:8080/) now")
    assert markdown("see [log](http://jenkins:8080/) now") == wanted
    assert html("see <a href='http://jenkins:8080/'>log</a> now") == wanted


def test_a_written_link_moves_the_entities_behind_it_and_lengthens_those_around_it() -> None:
    text = markdown("**[log](http://jenkins/) \U0001f600** _next_")
    assert text.text == "log (http://jenkins/) \U0001f600 next"
    assert over(text) == [("bold", "log (http://jenkins/) \U0001f600"), ("italic", "next")]


def test_no_url_is_lost_where_links_cannot_nest() -> None:
    badge = markdown("[![build](http://a.example/badge.svg)](http://a.example/job)")
    assert badge.text == "🖼build (http://a.example/badge.svg)"
    assert links(badge) == ["http://a.example/job"]
    assert links(markdown(f"[`make`]({LINK})")) == [LINK]
    assert LINK in html(f"<pre>a <a href='{LINK}'>b</a> c</pre>").text
    assert LINK in markdown(f"|a|\n|-|\n|[b]({LINK})|").text


def test_many_links_leave_room_for_the_entities_of_the_rest_and_none_is_lost() -> None:
    text = markdown(" ".join(f"[a](http://a.example/{number})" for number in range(80)))
    assert len(text.entities) == MOST_ENTITIES
    assert all(
        f"/{number}" in text.text or f"http://a.example/{number}" in links(text) for number in range(80)
    )


MARKDOWN = st.lists(
    st.sampled_from(
        (
            *("**", "*", "_", "~~", "||", "`", "```", "```py\n", "\n", "\n\n", "> ", "- ", "1. ", "  ", "# "),
            *(
                "[a](http://a.example/x)",
                "[b](http://jenkins/)",
                "![c](http://a.example/i.png)",
                "[",
                "](",
                ")",
            ),
            *(
                "<b>",
                "<div>",
                "</b>",
                "<tg-spoiler>",
                "$",
                "\\",
                "|",
                "|-|",
                "&amp;",
                "&#0;",
                "- [ ] ",
                "[x]: y",
            ),
            *("😀", "é", "word", " ", "\u200e", "\u0301", "http://a.example"),
        )
    )
    | st.text(max_size=5),
    max_size=40,
).map(lambda parts: "".join(parts)[:LONGEST])
HTML = st.lists(
    st.sampled_from(
        (
            *("<b>", "</b>", "<i>", "</i>", "<u>", "<s>", "</s>", "<code>", "</code>", "<pre>", "</pre>"),
            *(
                "<blockquote>",
                "</blockquote>",
                "<blockquote expandable>",
                "<ul>",
                "<ol>",
                "<li>",
                "</ul>",
                "<br>",
            ),
            *(
                "<a href='http://a.example/x'>",
                "<a href='http://jenkins/'>",
                "</a>",
                "<p>",
                "</p>",
                "<h1>",
                "</h1>",
            ),
            *(
                "<tg-spoiler>",
                "</tg-spoiler>",
                "<span class=tg-spoiler>",
                "</span>",
                "<img src=http://a.example/i>",
            ),
            *(
                "<pre><code class=language-py>",
                "&lt;",
                "&nbsp;",
                "&#0;",
                "<!-- x -->",
                "<",
                ">",
                "&",
                "\n",
                "<q>",
            ),
            *(
                "<tg-emoji emoji-id=9>",
                "<progress value=1>",
                "<ol start=-5 type=i>",
                "<li value=0>",
                "<input>",
                "<hr>",
            ),
            *("😀", "é", "word", " ", "\u200e", "\u0301", "ß"),
        )
    )
    | st.text(max_size=5),
    max_size=40,
).map(lambda parts: "".join(parts)[:LONGEST])


@given(MARKDOWN | HTML | st.text(max_size=200), st.sampled_from([Format.MARKDOWN, Format.HTML]))
def test_telegram_takes_whatever_is_made_of_a_description(source: str, kind: Format) -> None:
    text = formatted(source, kind)
    assert is_blank(text.text) == is_blank(source) or not is_blank(text.text)
    assert len(text.entities) <= MOST_ENTITIES
    assert_telegram_takes_all_of(text)


@given(MARKDOWN | HTML, st.sampled_from(list(Format)))
def test_telegram_takes_the_message_with_it(source: str, kind: Format) -> None:
    shown = one(message(title="done", description=source, format=kind))
    assert_telegram_takes_all_of(shown)
    assert shown.text.startswith("📌 done")


WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1, max_size=6)


@given(
    WORDS, st.sampled_from(["**{}**", "_{}_", "||{}||", "> {}", "- {}", "`{}`", "# {}", "<x>{}</x>", "${}$"])
)
def test_no_word_of_markdown_is_left_out(words: list[str], form: str) -> None:
    shown = markdown("\n".join(form.format(word) for word in words)).text
    assert [word for word in words if shown.count(word) < words.count(word)] == []


HOSTILE = {
    "quotes": ">" * LONGEST,
    "brackets": "[" * LONGEST,
    "images": "![" * 1_000,
    "stars": "**a" * 666,
    "ticks": "".join("`" * number + " " for number in range(63))[:LONGEST],
    "lists": "- " * 1_000,
    "references": ("[a]" * 600 + "\n\n[a]: http://a.b")[:LONGEST],
    "definitions": "".join(f"[{number}]: y\n" for number in range(300))[:LONGEST],
    "formulas": "$a$" * 666,
    "html in markdown": "<b>" * 666,
    "links": "[a](http://a.b/)" * 125,
    "tags": "<b>" * 666,
    "tags with ids": "".join(f"<b id={number}>" for number in range(200))[:LONGEST],
    "lists of html": "<ul><li>" * 250,
    "misnested": ("<a><b><p>" * 80 + "</a>" * 200)[:LONGEST],
    "attributes": "<b " + " a" * 900 + ">x",
    "line ends": "a\n" * 1_000,
}


def calls_of(read: Callable[[], Text]) -> tuple[int, Text]:
    """How many functions a reading calls, and its result."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        text = read()
    finally:
        sys.setprofile(None)
    return calls, text


@pytest.mark.parametrize("kind", [Format.MARKDOWN, Format.HTML])
@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_description_costs_little_and_is_shown(source: str, kind: Format) -> None:
    formatted.cache_clear()
    calls, text = calls_of(lambda: formatted(source, kind))
    # The worst of these is read in a tenth of a second.
    assert calls < 1_500_000
    assert not is_blank(text.text)
    assert_telegram_takes_all_of(text)
