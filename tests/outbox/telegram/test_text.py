"""Text that cannot fail. TDLib itself is the judge: the library inside the real Bot API server."""

from typing import Any

import orjson
import pytest
import tdjson
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.fields import is_blank
from services.outbox.messages import Document, Text
from services.outbox.telegram.text import (
    CAPTION_LIMIT,
    ENTITY_LIMIT,
    MAX_PARTS,
    MESSAGE_LIMIT,
    REPEATED,
    Builder,
    mark_repeated,
    parts_of,
    remove_suffix,
    split,
    utf16_length,
)
from services.telegram_sandbox import markup
from tests.telegram_sandbox.markup.urls import OTHER_SCHEMES, app_urls, web_urls

GRIN = "\U0001f600"
_TYPES = {"bold": "Bold", "italic": "Italic", "code": "Code", "pre": "Pre", "text_link": "TextUrl"}


def telegram_takes(text: Text) -> str:
    """What TDLib makes of text and entities; empty where it finds nothing to send."""
    answer = _asked_of_tdlib("getMarkdownText", text)
    return str(answer["text"])


def as_telegram_has_it(text: Text) -> tuple[str, list[tuple[str, str]]]:
    """The text, and what each entity lies over, as TDLib puts them right; without blank ones."""
    answer = _asked_of_tdlib("parseMarkdown", text)
    units = answer["text"].encode("utf-16-le")
    over = [
        (e["type"]["@type"], units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le"))
        for e in answer["entities"]
    ]
    return answer["text"], [(kind, part) for kind, part in over if not is_blank(part)]


def _asked_of_tdlib(question: str, text: Text) -> dict[str, Any]:
    entities = [
        {
            "@type": "textEntity",
            "offset": entity["offset"],
            "length": entity["length"],
            "type": {"@type": f"textEntityType{_TYPES[entity['type']]}", "url": entity.get("url", "")},
        }
        for entity in text.entities
    ]
    formatted = {"@type": "formattedText", "text": text.text, "entities": entities}
    asked = orjson.dumps({"@type": question, "text": formatted})
    answer: dict[str, Any] = orjson.loads(tdjson.td_execute(asked) or b"null")
    assert answer["@type"] == "formattedText", answer
    return answer


tdjson.td_execute(b'{"@type":"setLogVerbosityLevel","new_verbosity_level":0}')

ANY_TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from([" ", "\n", GRIN, "\u202e", "\x01"]))
PIECES = st.lists(
    st.tuples(st.sampled_from(["text", "bold", "italic", "code", "pre", "link"]), ANY_TEXT), max_size=8
)


def built(pieces: list[tuple[str, str]]) -> Text:
    out = Builder()
    for kind, text in pieces:
        if kind == "link":
            out.link(text, "https://example.com/")
        else:
            getattr(out, kind)(text)
    return out.build()


def slices(text: Text) -> list[tuple[str, str]]:
    """What each entity lies over."""
    units = text.text.encode("utf-16-le")
    return [
        (e["type"], units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le"))
        for e in text.entities
    ]


def test_entities_count_in_utf16_units() -> None:
    text = Builder().text(GRIN).bold(f"a{GRIN}b").code("c").build()
    assert text.text == f"{GRIN}a{GRIN}bc"
    assert text.entities == (
        {"type": "bold", "offset": 2, "length": 4},
        {"type": "code", "offset": 6, "length": 1},
    )


def test_an_empty_entity_is_none() -> None:
    assert Builder().bold("").pre("").build() == Text("")


def test_code_blocks_may_name_their_language() -> None:
    assert Builder().pre("ls", "shell").build().entities[0]["language"] == "shell"
    assert "language" not in Builder().pre("ls").build().entities[0]


@pytest.mark.parametrize("url", ["http://a.example", "https://a.example/?q=1", "tg://user?id=1"])
def test_a_link_is_an_entity(url: str) -> None:
    assert Builder().link("here", url).build().entities[0]["url"] == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://a.example",
        "file:///etc/passwd",
        "http://jenkins:8080/job/7",
        "http://localhost:9090/graph",
        "https://grafana/d/abc",
        "https://[::1",
        "tg://",
    ],
)
def test_what_telegram_does_not_link_is_shown(url: str) -> None:
    assert Builder().link("here", url).build() == Text(f"here ({url})")
    assert Builder().link(url, url).build() == Text(url)


def test_a_link_to_nowhere_is_its_text() -> None:
    assert Builder().link("here", "").build() == Text("here")


@given(ANY_TEXT, st.one_of(web_urls(), app_urls(), web_urls(OTHER_SCHEMES)))
def test_telegram_takes_a_text_with_any_link_and_the_reader_has_its_url(text: str, url: str) -> None:
    linked = Builder().text("t").link(text, url).build()
    telegram_takes(linked)
    has_link = any(entity["url"] == url for entity in linked.entities)
    assert has_link or url.replace("\0", "").strip() in linked.text or not text.replace("\0", "")


def test_what_json_cannot_carry_is_taken_out() -> None:
    assert Builder().text("a\0b").text("c\ud800d").build().text == "abc?d"


@given(ANY_TEXT)
def test_utf16_length_is_that_of_the_encoding(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2


@given(PIECES)
def test_entities_lie_exactly_over_what_they_were_given(pieces: list[tuple[str, str]]) -> None:
    text = built(pieces)
    kept = [(kind, part.replace("\0", "")) for kind, part in pieces if kind != "text"]
    names = {"link": "text_link"}
    assert slices(text) == [(names.get(kind, kind), part) for kind, part in kept if part]


@given(PIECES, st.integers(1, 40))
def test_pieces_joined_are_the_text_and_telegram_takes_each(
    pieces: list[tuple[str, str]], limit: int
) -> None:
    text = built(pieces)
    cut = list(split(text, limit))
    assert "".join(piece.text for piece in cut) == text.text
    assert all(len(piece.text) <= limit for piece in cut)
    assert all(piece.text for piece in cut) or text.text == ""
    for piece in cut:
        telegram_takes(piece)
    if len(text.entities) <= ENTITY_LIMIT:
        styled = "".join(part for piece in cut for _, part in slices(piece))
        assert styled == "".join(part for _, part in slices(text))


@given(st.text(st.sampled_from("ab \n" + GRIN), min_size=200, max_size=400))
def test_a_cut_is_at_a_line_end_or_a_space_where_there_is_one(text: str) -> None:
    *cut, _ = split(Text(text), 60)
    for piece in cut:
        second_half = piece.text[30:]
        assert len(piece.text) >= 31
        assert piece.text[-1] in "\n " or not set(second_half) & set("\n ")


def test_the_limit_is_code_points_so_emoji_count_once() -> None:
    text = Text(GRIN * MESSAGE_LIMIT)
    assert list(split(text, MESSAGE_LIMIT)) == [text]
    assert [len(piece.text) for piece in split(Text(text.text + "a"), MESSAGE_LIMIT)] == [4096, 1]


def test_an_entity_over_a_cut_goes_on_in_the_next_piece() -> None:
    text = Builder().bold(GRIN * 6).build()
    assert [piece.entities for piece in split(text, 4)] == [
        ({"type": "bold", "offset": 0, "length": 8},),
        ({"type": "bold", "offset": 0, "length": 4},),
    ]


def test_no_piece_has_more_entities_than_telegram_looks_at() -> None:
    out = Builder()
    for _ in range(ENTITY_LIMIT + 20):
        out.bold("b").text(" ")
    (piece,) = split(out.build(), MESSAGE_LIMIT)
    assert len(piece.entities) == ENTITY_LIMIT


def test_a_few_parts_are_messages() -> None:
    parts = parts_of(Text("x" * ((MESSAGE_LIMIT - len(REPEATED) - 1) * MAX_PARTS)), "a.txt")
    assert [type(part) for part in parts] == [Text] * MAX_PARTS


def test_more_become_a_document_with_the_beginning_as_caption() -> None:
    whole = "".join(f"line {n} {GRIN}\n" for n in range(3_000))
    (document,) = parts_of(Text(whole), "events.txt")
    assert isinstance(document, Document)
    assert (document.filename, document.content.decode()) == ("events.txt", whole)
    assert document.caption.text.startswith("line 0")
    assert document.caption.text.endswith(" …")
    assert len(document.caption.text) <= CAPTION_LIMIT


def test_blank_pieces_are_left_out_since_telegram_refuses_them() -> None:
    parts = parts_of(Text("head" + " " * 5_000), "a.txt")
    assert len(parts) == 1
    assert parts[0].text.startswith("head")  # type: ignore[union-attr] # a Text


@given(ANY_TEXT, st.integers(3_000, 9_000), st.sampled_from([" ", "\n", "x", "\u202e", "\x02", GRIN]))
def test_telegram_finds_something_to_send_in_every_part(head: str, count: int, filler: str) -> None:
    text = Builder().text("t").text(head).text(filler * count).build()
    for part in parts_of(text, "a.txt"):
        assert isinstance(part, Text)
        assert telegram_takes(part)
        assert len(part.text) <= MESSAGE_LIMIT - len(REPEATED) - 1


def test_a_note_above_a_part_moves_its_entities() -> None:
    part = Builder().text(GRIN).bold("bold").build()
    noted = mark_repeated(part)
    assert isinstance(noted, Text)
    assert noted.text == f"{REPEATED}\n{GRIN}bold"
    assert slices(noted) == [("italic", REPEATED), ("bold", "bold")]


def test_a_note_stands_in_the_caption_of_a_document() -> None:
    document = Document("a.txt", b"whole", Text("beginning"))
    noted = mark_repeated(document)
    assert isinstance(noted, Document)
    assert (noted.caption.text, noted.content) == (f"{REPEATED}\nbeginning", b"whole")


def test_a_text_without_room_for_the_note_stays_as_it_is() -> None:
    full = Text("x" * MESSAGE_LIMIT)
    assert mark_repeated(full) == full


@given(PIECES, st.integers(0, 30))
def test_a_note_never_makes_a_part_too_long(pieces: list[tuple[str, str]], repeat: int) -> None:
    text = built(pieces * repeat)
    for part in parts_of(text, "a.txt"):
        noted = mark_repeated(part)
        assert noted != part
        if isinstance(noted, Document):
            assert len(noted.caption.text) <= CAPTION_LIMIT
            telegram_takes(noted.caption)
        else:
            assert isinstance(noted, Text)
            assert len(noted.text) <= MESSAGE_LIMIT
            telegram_takes(noted)


LONG = st.lists(
    st.tuples(
        st.sampled_from(["text", "bold", "italic", "code", "pre", "link"]),
        st.builds(lambda piece, times: piece * times, ANY_TEXT, st.integers(1, 900)),
    ),
    min_size=1,
    max_size=12,
)


@given(LONG)
def test_of_any_text_nothing_is_missing_and_telegram_takes_every_part(pieces: list[tuple[str, str]]) -> None:
    text = built([("text", "t"), *pieces])
    parts = parts_of(text, "a.txt")
    assert 1 <= len(parts) <= MAX_PARTS
    if isinstance(parts[0], Document):
        assert len(parts) == 1
        assert parts[0].content.decode() == text.text
    else:
        whole = "".join(part.text for part in parts if isinstance(part, Text))
        assert visible(whole) == visible(text.text)
    for part in parts:
        shown, limit = (part.caption, CAPTION_LIMIT) if isinstance(part, Document) else (part, MESSAGE_LIMIT)
        assert len(shown.text) <= limit - len(REPEATED) - 1
        assert not is_blank(shown.text)
        assert telegram_takes(shown)


def visible(text: str) -> str:
    return "".join(character for character in text if not is_blank(character))


_LETTERS = st.text(st.sampled_from("ab" + GRIN + "\u0301é"), min_size=1, max_size=300)


@given(st.lists(st.tuples(st.sampled_from(["text", "bold", "italic", "code"]), _LETTERS), max_size=6))
def test_what_stands_in_bold_stays_in_bold_across_a_cut(pieces: list[tuple[str, str]]) -> None:
    text = built(pieces)
    joined: dict[str, str] = {}
    for piece in split(text, 61):
        _, entities = as_telegram_has_it(piece)
        for kind, part in entities:
            joined[kind] = joined.get(kind, "") + part
    wanted: dict[str, str] = {}
    for kind, part in as_telegram_has_it(text)[1]:
        wanted[kind] = wanted.get(kind, "") + part
    assert joined == wanted


def test_every_character_that_shows_nothing_to_telegram_is_blank() -> None:
    shown = (chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF)
    nothing = [character for character in shown if markup.is_empty(character)]
    assert len(nothing) > 150
    assert [character for character in nothing if not is_blank(character)] == []


@pytest.mark.parametrize("nothing", ["\u200b", "\u2060\ufeff", "\u2800", "\x01 \n", "\u202e", "\U000e0020"])
def test_a_part_that_shows_nothing_is_left_out(nothing: str) -> None:
    parts = parts_of(Text("head\n" + nothing * 8_000 + "\ntail"), "a.txt")
    assert all(isinstance(part, Text) and not is_blank(part.text) for part in parts)
    texts = [part.text for part in parts if isinstance(part, Text)]
    assert texts[0].startswith("head")
    assert texts[-1].endswith("tail")


@given(PIECES, PIECES)
def test_a_text_added_to_another_keeps_its_entities(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    start, rest = built(first), built(second)
    both = Builder().add(start).add(rest).build()
    assert both == built([*first, *second])
    assert remove_suffix(both, rest.text).text == start.text
    assert remove_suffix(start, "\ue000 no such end") == start


def test_what_is_cut_off_takes_its_entities_along() -> None:
    both = Builder().bold("ab").text(GRIN).italic(f"c{GRIN}").build()
    assert remove_suffix(both, GRIN) == Builder().bold("ab").text(GRIN).italic("c").build()
