"""Whatever is in an answer to getUpdates: what can be read is read, and a bad update hides no other."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram.error import TelegramError

from services.outbox.telegram.errors import BadAnswerError
from services.updates import batch, parse
from services.updates.batch import LARGEST_BATCH, LARGEST_UPDATE_ID, Batch, CheckedUpdate

IDS = st.integers(-2, 200) | st.sampled_from([2**31 - 1, 2**31, 2**63, 10**30, "7", True, 1.0, None, [7]])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
UPDATES = ANY_JSON | st.fixed_dictionaries(
    {}, optional={"update_id": IDS, "message": ANY_JSON, "callback_query": ANY_JSON, "x": st.just(']}{["')}
)
RESULTS = st.lists(UPDATES, max_size=6) | ANY_JSON
ANSWERS = (
    st.fixed_dictionaries({"ok": st.just(True), "result": RESULTS}).map(json.dumps).map(str.encode)
    | ANY_JSON.map(json.dumps).map(str.encode)
    | st.binary(max_size=100)
)


def answer(*updates: str) -> bytes:
    return ('{"ok":true,"result":[' + ",".join(updates) + "]}").encode()


def is_bounded(found: Batch) -> bool:
    ids = [update["update_id"] for update in found.updates]
    return ids == sorted(ids) and len(ids) <= LARGEST_BATCH and all(0 <= i <= LARGEST_UPDATE_ID for i in ids)


def read(payload: bytes) -> Batch | None:
    """The batch, or None where the answer is the adapter's own error."""
    try:
        return batch.read(200, payload)
    except TelegramError:
        return None


@given(ANSWERS)
def test_any_answer_is_a_bounded_batch_or_an_error(payload: bytes) -> None:
    found = read(payload)
    assert found is None or is_bounded(found)


@given(ANSWERS, st.integers(0, 200))
def test_an_answer_that_is_cut_off_or_damaged_is_a_bounded_batch_or_an_error(payload: bytes, at: int) -> None:
    for damaged in (payload[:at], payload[:at] + b"\x00" + payload[at:], payload[at:]):
        found = read(damaged)
        assert found is None or is_bounded(found)


@given(ANSWERS)
def test_what_is_read_can_be_stored_and_parsed(payload: bytes) -> None:
    found = read(payload)
    for update in found.updates if found else ():
        stored = orjson.loads(orjson.dumps(update))
        assert parse.parse_update(stored) is not None


def good(update_id: int) -> str:
    return json.dumps({"update_id": update_id, "message": {"text": ']}"{['}})


def with_id(update_id: int, more: str = "") -> str:
    return f'{{"update_id":{update_id}{more}}}'


LONE_SURROGATE = '{"update_id": 8, "message": {"text": "\\ud800"}}'
TOO_DEEP_TO_READ = with_id(8, ',"message":' + "[" * 5_000 + "]" * 5_000)
TOO_DEEP_TO_WRITE = with_id(8, ',"message":' + "[" * 500 + "]" * 500)
NO_COMMA = with_id(8, '"message":{}')


@pytest.mark.parametrize("bad", [LONE_SURROGATE, TOO_DEEP_TO_READ, TOO_DEEP_TO_WRITE, NO_COMMA])
def test_a_malformed_update_keeps_its_id_and_the_others_are_whole(bad: str) -> None:
    found = batch.read(200, answer(good(7), bad, good(9)))
    assert found.updates == [json.loads(good(7)), {"update_id": 8}, json.loads(good(9))]
    assert (found.unreadable, found.next_offset) == (1, 10)


@pytest.mark.parametrize(
    "bad", ["7", "null", "[]", "{}", '{"update_id":"8"}', '{"update_id":-1}', '{"update_id":1e3}']
)
def test_an_update_without_a_usable_id_is_left_out_and_counted(bad: str) -> None:
    found = batch.read(200, answer(good(7), bad, good(9)))
    assert [update["update_id"] for update in found.updates] == [7, 9]
    assert found.unreadable == 1


@pytest.mark.parametrize("update_id", [2**31, 2**63, 10**30])
def test_an_id_that_would_spoil_the_offset_is_not_taken(update_id: int) -> None:
    found = batch.read(200, answer(good(7), with_id(update_id)))
    assert (found.next_offset, found.unreadable) == (8, 1)
    assert batch.read(200, answer(with_id(update_id, ' "a"'))) == Batch([], 1)


def test_updates_are_in_the_order_of_their_ids() -> None:
    found = batch.read(200, answer(*(good(n) for n in (9, 7, 8, 7))))
    assert [update["update_id"] for update in found.updates] == [7, 7, 8, 9]
    assert found.next_offset == 10


def test_of_a_million_updates_the_first_are_taken_and_confirmed() -> None:
    found = batch.read(200, answer(*(with_id(n) for n in range(1_000_000))))
    assert len(found.updates) == found.next_offset == LARGEST_BATCH


@pytest.mark.parametrize("result", ["null", "7", '"x"', "{}", "true"])
def test_a_result_that_is_no_list_is_a_bad_answer(result: str) -> None:
    with pytest.raises(BadAnswerError):
        batch.read(200, b'{"ok":true,"result":%b}' % result.encode())


def test_a_page_is_a_bad_answer_and_confirms_nothing() -> None:
    with pytest.raises(BadAnswerError):
        batch.read(200, b"<html>log in to this network</html>")


def test_an_update_of_the_webhook_is_checked_in_the_same_way() -> None:
    good = {"update_id": 7, "message": {}}
    assert batch.checked(good) == CheckedUpdate(good, readable=True)
    assert batch.checked(json.loads(TOO_DEEP_TO_WRITE)) == CheckedUpdate({"update_id": 8})
    assert batch.checked({"update_id": "8"}) == CheckedUpdate(None)
