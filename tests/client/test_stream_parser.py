"""Server-sent events, however the bytes are split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.errors import UnreadableAnswerError
from services.client.stream import LARGEST_EVENT, EventParser, ServerSentEvent


def parsed(*parts: bytes) -> list[ServerSentEvent]:
    parser = EventParser()
    return [event for part in parts for event in parser.feed(part)]


def test_an_event_has_its_fields() -> None:
    sent = b"retry: 2000\nid: 812.4711.1\nevent: change\ndata: {\ndata:}\n\n"
    assert parsed(sent) == [ServerSentEvent("change", "{\n}", "812.4711.1", 2000)]


def test_a_heartbeat_has_a_position_and_no_data() -> None:
    assert parsed(b": still here\nid: 4\n\n") == [ServerSentEvent("message", "", "4", None)]


def test_an_event_that_was_cut_off_is_none() -> None:
    assert parsed(b"event: change\ndata: {}\n") == []


@pytest.mark.parametrize("retry", ["soon", "", "-1", "9" * 30, "²"])
def test_an_odd_pause_is_none(retry: str) -> None:
    assert parsed(f"retry: {retry}\n\n".encode())[0].retry is None


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(UnreadableAnswerError):
        parsed(*[b"data: " + b"x" * 100_000] * (LARGEST_EVENT // 100_000 + 1))


def test_an_endless_event_is_refused() -> None:
    with pytest.raises(UnreadableAnswerError):
        parsed(*[b"data: " + b"x" * 100_000 + b"\n"] * (LARGEST_EVENT // 100_000 + 1))


_LINES = st.lists(
    st.sampled_from((b"data: a", b"data:b", b"id: 7", b"event: change", b": c", b"")), max_size=12
)


@given(
    lines=_LINES, ends=st.lists(st.sampled_from((b"\n", b"\r\n")), min_size=12, max_size=12), data=st.data()
)
def test_the_split_does_not_matter(lines: list[bytes], ends: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(line + end for line, end in zip(lines, ends, strict=False)) + b"\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    parts = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert parsed(*parts) == parsed(sent)


@given(data=st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    assert isinstance(parsed(data), list)
