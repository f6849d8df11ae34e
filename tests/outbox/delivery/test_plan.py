"""The plan of a claim: which messages are sent, deferred, ended, moved; without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.chats.chat_heads import ChatRow
from services.outbox.delivery import plan
from services.outbox.delivery.plan import DEFAULT_RULES, ChatRules, Deferral, Deferred, Ending, Plan, Target
from services.outbox.messages import AT_ONCE, CONTINUATION, Claimed, Lane, MessageState, Reason
from tests.outbox.making import ADA, GRACE, NOW, claimed

TEAM, SUPERGROUP = -2001, -1_000_000_002_001
MORNING = NOW + 8 * 3600
QUIET = "quiet"  #: the settings of a chat in quiet hours
DELAYED, SILENT, OVER = (
    Deferral(MORNING, "quiet hours"),
    Deferral(None, "without a sound"),
    Deferral(NOW, "quiet hours that are over"),
)


def chat(chat_id: int = ADA, **changes: Any) -> dict[str, Any]:
    """A leased chat's row, as far as the plan reads it."""
    row: dict[str, Any] = dict.fromkeys(("blocked", "migrated_to", "muted_until", "settings"))
    return row | {"chat_id": chat_id} | changes


def planned(
    *messages: Claimed,
    chats: Sequence[ChatRow] = (),
    targets: Mapping[int, Target] | None = None,
    rules: ChatRules = DEFAULT_RULES,
) -> Plan:
    """The plan for messages; chats that are not given are open."""
    rows: dict[int, ChatRow] = {message.chat_id: chat(message.chat_id) for message in messages}
    rows |= {row["chat_id"]: row for row in chats}
    return plan.of(rows, messages, targets or {}, rules, NOW)


def deferring(deferral: Deferral | None) -> ChatRules:
    """Rules that defer every message of a chat with settings alike."""
    return ChatRules(defers=lambda _message, _settings, _now: deferral)


def endings(made: Plan) -> list[tuple[MessageState, Reason]]:
    return [(ending.state, ending.reason) for ending in made.end]


def test_a_due_message_is_sent_as_it_is() -> None:
    message = claimed()
    assert planned(message) == Plan(send=[message])


def test_nothing_leased_is_an_empty_plan() -> None:
    assert plan.of({}, [], {}, DEFAULT_RULES, NOW) == Plan()


def test_a_chat_without_a_due_message_is_given_back() -> None:
    assert planned(chats=[chat(ADA)]) == Plan(give_back=[ADA])


def test_of_several_chats_only_those_without_a_message_are_given_back() -> None:
    message = claimed(chat_id=ADA)
    made = planned(message, chats=[chat(ADA), chat(GRACE)])
    assert (made.send, made.give_back) == ([message], [GRACE])


# Chats that nothing can be sent to


def test_the_messages_of_a_migrated_group_move_and_its_lease_ends() -> None:
    made = planned(chats=[chat(TEAM, migrated_to=SUPERGROUP)])
    assert made == Plan(move=[(TEAM, SUPERGROUP)], give_back=[TEAM])


def test_the_messages_of_a_chat_that_refuses_the_bot_end_and_its_lease_ends() -> None:
    made = planned(chats=[chat(blocked="bot_blocked")])
    assert made == Plan(suppress=[(ADA, Reason.BOT_BLOCKED)], give_back=[ADA])


def test_a_migrated_group_that_refused_the_bot_moves() -> None:
    made = planned(chats=[chat(TEAM, migrated_to=SUPERGROUP, blocked="chat_gone")])
    assert (made.move, made.suppress) == ([(TEAM, SUPERGROUP)], [])


def test_a_supergroup_waits_for_the_messages_that_move_to_it_in_the_same_claim() -> None:
    message = claimed(chat_id=SUPERGROUP)
    made = planned(message, chats=[chat(TEAM, migrated_to=SUPERGROUP)])
    assert made.send == []
    assert sorted(made.give_back) == sorted([TEAM, SUPERGROUP])


@pytest.mark.parametrize(
    ("changes", "accepts"),
    [
        ({}, True),
        ({"muted_until": NOW + 60, "settings": QUIET}, True),
        ({"blocked": "bot_blocked"}, False),
        ({"migrated_to": SUPERGROUP}, False),
    ],
)
def test_messages_are_loaded_for_chats_that_can_be_sent_to(changes: dict[str, Any], *, accepts: bool) -> None:
    assert plan.accepts(chat(**changes), DEFAULT_RULES) is accepts


# Chats that refused the bot, of a service that tries them again


def half_open(message: Claimed, since: float) -> bool:
    return message.lane is Lane.URGENT or since >= 300


@pytest.mark.parametrize(
    ("lane", "since", "is_tried"),
    [(Lane.URGENT, 1, True), (Lane.NORMAL, 299, False), (Lane.NORMAL, 300, True)],
)
def test_a_chat_that_refused_the_bot_is_tried_as_the_service_says(
    lane: Lane, since: float, *, is_tried: bool
) -> None:
    message, row = claimed(lane=lane), chat(blocked="bot_blocked", sent_at=NOW - since)
    rules = ChatRules(tries=half_open)
    assert plan.accepts(row, rules)
    made = plan.of({ADA: row}, [message], {}, rules, NOW)
    if is_tried:
        assert made == Plan(send=[replace(message, refused_before=True)])
    else:
        ending = Ending(message, MessageState.SUPPRESSED, Reason.BOT_BLOCKED, "the chat refused the bot")
        assert made == Plan(end=[ending], give_back=[ADA])


def test_a_migrated_group_is_not_tried() -> None:
    assert not plan.accepts(chat(TEAM, migrated_to=SUPERGROUP), ChatRules(tries=half_open))


# Expiry


@pytest.mark.parametrize(
    ("expires_at", "is_sent"), [(None, True), (NOW + 0.001, True), (NOW, False), (NOW - 60, False)]
)
def test_a_message_ends_as_expired_at_its_time(expires_at: float | None, *, is_sent: bool) -> None:
    message = claimed(expires_at=expires_at)
    made = planned(message)
    if is_sent:
        assert made == Plan(send=[message])
    else:
        ending = Ending(message, MessageState.EXPIRED, Reason.EXPIRED, "expires_at has passed")
        assert made == Plan(end=[ending], give_back=[ADA])


def test_a_message_in_parts_expires_between_its_parts() -> None:
    rest = claimed(expires_at=NOW, part=1, due_at=CONTINUATION)
    assert endings(planned(rest)) == [(MessageState.EXPIRED, Reason.EXPIRED)]


def test_an_expired_message_of_a_muted_chat_is_expired() -> None:
    made = planned(claimed(expires_at=NOW), chats=[chat(muted_until=NOW + 60)])
    assert endings(made) == [(MessageState.EXPIRED, Reason.EXPIRED)]


def test_an_expired_message_is_not_deferred() -> None:
    made = planned(claimed(expires_at=NOW), chats=[chat(settings=QUIET)], rules=deferring(DELAYED))
    assert endings(made) == [(MessageState.EXPIRED, Reason.EXPIRED)]
    assert made.defer == []


# Mutes


@pytest.mark.parametrize(
    ("muted_until", "lane", "is_sent"),
    [
        (NOW + 60, Lane.NORMAL, False),
        (NOW + 60, Lane.BULK, False),
        (NOW + 60, Lane.URGENT, True),
        (NOW, Lane.NORMAL, True),
        (NOW - 60, Lane.NORMAL, True),
        (None, Lane.NORMAL, True),
    ],
)
def test_a_muted_chat_gets_urgent_messages_only(
    muted_until: float | None, lane: Lane, *, is_sent: bool
) -> None:
    message = claimed(lane=lane)
    made = planned(message, chats=[chat(muted_until=muted_until)])
    if is_sent:
        assert made == Plan(send=[message])
    else:
        ending = Ending(message, MessageState.SUPPRESSED, Reason.MUTED, "muted")
        assert made == Plan(end=[ending], give_back=[ADA])


@pytest.mark.parametrize("mutes", [True, False])
def test_the_owning_service_says_which_messages_a_muted_chat_does_not_get(*, mutes: bool) -> None:
    seen: list[Claimed] = []

    def rule(message: Claimed) -> bool:
        seen.append(message)
        return mutes

    message = claimed(lane=Lane.URGENT)
    made = planned(message, chats=[chat(muted_until=NOW + 60)], rules=ChatRules(mutes=rule))
    assert bool(made.end) is mutes
    assert seen == [message]


def test_a_chat_that_is_not_muted_is_sent_what_mutes_would_suppress() -> None:
    assert planned(claimed(), rules=ChatRules(mutes=lambda _: True)).end == []


def test_a_muted_message_is_not_deferred() -> None:
    row = chat(muted_until=NOW + 60, settings=QUIET)
    made = planned(claimed(), chats=[row], rules=deferring(DELAYED))
    assert (endings(made), made.defer) == ([(MessageState.SUPPRESSED, Reason.MUTED)], [])


# Quiet hours


def test_a_message_in_quiet_hours_waits_for_their_end() -> None:
    message = claimed()
    made = planned(message, chats=[chat(settings=QUIET)], rules=deferring(DELAYED))
    assert made == Plan(defer=[Deferred(message, MessageState.QUEUED, MORNING, DELAYED)], give_back=[ADA])


def test_quiet_hours_that_only_silence_send_the_message_without_a_sound_and_record_it() -> None:
    message = claimed(attempt=1)
    made = planned(message, chats=[chat(settings=QUIET)], rules=deferring(SILENT))
    (sent,) = made.send
    assert (sent.silent, sent.seq) == (True, message.seq)
    assert made.silenced == [(message, "without a sound")]
    assert (made.defer, made.give_back) == ([], [])


def test_a_retry_without_a_sound_is_not_recorded_again() -> None:
    made = planned(claimed(attempt=2), chats=[chat(settings=QUIET)], rules=deferring(SILENT))
    assert [message.silent for message in made.send] == [True]
    assert made.silenced == []


@pytest.mark.parametrize("deferral", [None, OVER])
def test_outside_of_quiet_hours_a_message_is_sent_as_it_is(deferral: Deferral | None) -> None:
    message = claimed()
    made = planned(message, chats=[chat(settings=QUIET)], rules=deferring(deferral))
    assert made == Plan(send=[message])


@pytest.mark.parametrize("settings", [None, ""])
def test_a_chat_without_settings_has_no_quiet_hours(settings: str | None) -> None:
    message = claimed()
    made = planned(message, chats=[chat(settings=settings)], rules=deferring(DELAYED))
    assert made == Plan(send=[message])


def test_the_rest_of_a_message_in_parts_is_not_deferred() -> None:
    rest = claimed(part=1, due_at=CONTINUATION)
    made = planned(rest, chats=[chat(settings=QUIET)], rules=deferring(DELAYED))
    assert made == Plan(send=[rest])


def test_quiet_hours_are_those_of_the_messages_chat_at_the_time_of_the_claim() -> None:
    seen: list[tuple[int, str, float]] = []

    def rule(message: Claimed, settings: str, now: float) -> Deferral | None:
        seen.append((message.chat_id, settings, now))
        return None

    planned(
        claimed(chat_id=ADA),
        claimed(chat_id=GRACE),
        chats=[chat(ADA, settings="a"), chat(GRACE, settings="b")],
        rules=ChatRules(defers=rule),
    )
    assert seen == [(ADA, "a", NOW), (GRACE, "b", NOW)]


@pytest.mark.parametrize(
    ("attempt", "due_at", "state"),
    [
        (1, AT_ONCE, MessageState.QUEUED),
        (1, NOW - 5, MessageState.QUEUED),
        (2, NOW - 5, MessageState.RETRY_WAIT),
        (2, AT_ONCE, MessageState.QUEUED),
        (2, CONTINUATION, MessageState.QUEUED),
    ],
)
def test_a_deferred_message_keeps_its_state(attempt: int, due_at: float, state: MessageState) -> None:
    made = planned(
        claimed(attempt=attempt, due_at=due_at), chats=[chat(settings=QUIET)], rules=deferring(DELAYED)
    )
    assert [deferred.state for deferred in made.defer] == [state]


def test_the_messages_behind_a_deferred_one_are_deferred_with_it() -> None:
    first = Deferred(claimed(seq=1), MessageState.QUEUED, MORNING, DELAYED)
    behind = [claimed(seq=2), claimed(seq=3)]
    assert plan.deferred_with(first, behind, QUIET, deferring(DELAYED), NOW) == behind


def test_messages_behind_that_are_not_deferred_alike_stay() -> None:
    critical, rest, later, alike = (
        claimed(seq=2, severity="critical"),
        claimed(seq=3, part=1),
        claimed(seq=4, severity="high"),
        claimed(seq=5),
    )

    def rule(message: Claimed, _settings: str, _now: float) -> Deferral | None:
        different = Deferral(MORNING + 3600, "quiet hours")
        return {"critical": None, "high": different}.get(message.severity, DELAYED)

    first = Deferred(claimed(seq=1), MessageState.QUEUED, MORNING, DELAYED)
    behind = [critical, rest, later, alike]
    assert plan.deferred_with(first, behind, QUIET, ChatRules(defers=rule), NOW) == [alike]


# Update keys, and edits of messages that were not delivered


def edit(**changes: Any) -> Claimed:
    return claimed(seq=7, **changes)


@pytest.mark.parametrize(
    ("state", "superseded"),
    [
        (MessageState.QUEUED, [5]),
        (MessageState.RETRY_WAIT, []),
        (MessageState.SENDING, []),
        (MessageState.UNKNOWN, []),
        (MessageState.DEAD_LETTER, []),
        (MessageState.EXPIRED, []),
        (MessageState.CANCELLED, []),
    ],
)
def test_an_edit_by_an_update_key_is_sent_where_the_first_message_was_not_delivered(
    state: MessageState, superseded: list[int]
) -> None:
    """It has the newest state. A first message that still waits is superseded, and not sent after it."""
    message = edit()
    made = planned(message, targets={7: Target(5, state, by_key=True)})
    assert made == Plan(send=[message], begin_anew=[7], supersede=superseded)


def test_an_edit_by_an_update_key_is_sent_where_the_first_message_is_not_stored_any_more() -> None:
    message = edit()
    made = planned(message, targets={7: Target(None, None, by_key=True)})
    assert made == Plan(send=[message], begin_anew=[7])


@pytest.mark.parametrize(
    "target",
    [
        Target(5, MessageState.DEAD_LETTER, by_key=False),
        Target(5, MessageState.SUPPRESSED, by_key=False),
        Target(5, MessageState.QUEUED, by_key=False),
        Target(None, None, by_key=False),
    ],
)
def test_an_edit_of_a_message_that_was_never_sent_ends(target: Target) -> None:
    """Such as the result of a question that no person has seen."""
    message = edit()
    ending = Ending(
        message, MessageState.SUPPRESSED, Reason.NEVER_SENT, "the message that it edits was never sent"
    )
    assert planned(message, targets={7: target}) == Plan(end=[ending], give_back=[ADA])


@pytest.mark.parametrize("state", [MessageState.UNKNOWN, MessageState.DEAD_LETTER, MessageState.CANCELLED])
def test_an_edit_of_a_message_that_may_have_been_shown_is_sent(state: MessageState) -> None:
    message = edit()
    made = planned(message, targets={7: Target(5, state, by_key=False, may_be_shown=True)})
    assert made == Plan(send=[message])


def test_an_edit_of_nothing_that_has_expired_ends_as_never_sent() -> None:
    target = Target(5, MessageState.DEAD_LETTER, by_key=False)
    made = planned(edit(expires_at=NOW), targets={7: target})
    assert endings(made) == [(MessageState.SUPPRESSED, Reason.NEVER_SENT)]


@pytest.mark.parametrize("deferral", [DELAYED, SILENT])
def test_an_edit_of_what_the_chat_shows_makes_no_sound_and_waits_for_nothing(deferral: Deferral) -> None:
    message = edit(edits=501)
    quiet = planned(message, chats=[chat(settings=QUIET)], rules=deferring(deferral))
    muted = planned(message, chats=[chat(muted_until=NOW + 60)])
    assert (quiet, muted) == (Plan(send=[message]), Plan(send=[message]))


def test_an_edit_that_begins_anew_is_deferred_by_quiet_hours() -> None:
    made = planned(
        edit(),
        chats=[chat(settings=QUIET)],
        targets={7: Target(5, MessageState.QUEUED, by_key=True)},
        rules=deferring(DELAYED),
    )
    assert (made.begin_anew, made.supersede, made.send) == ([7], [5], [])
    assert [deferred.message.seq for deferred in made.defer] == [7]


# Whatever comes together


_TIMES = st.none() | st.floats(NOW - 100, NOW + 100)
_ROWS = st.fixed_dictionaries(
    {
        "blocked": st.sampled_from([None, None, None, "bot_blocked"]),
        "migrated_to": st.sampled_from([None, None, None, 3, 99]),
        "muted_until": _TIMES,
        "settings": st.sampled_from([None, QUIET]),
    }
)
_CHANGES = st.fixed_dictionaries(
    {
        "expires_at": _TIMES,
        "lane": st.sampled_from(list(Lane)),
        "part": st.integers(0, 1),
        "attempt": st.integers(1, 3),
    }
)
_TARGETS = st.builds(
    Target,
    st.none() | st.integers(1000, 1010),
    st.none() | st.sampled_from(list(MessageState)),
    st.booleans(),
    st.booleans(),
)


@given(
    st.dictionaries(
        st.integers(1, 9), st.tuples(_ROWS, st.none() | _CHANGES, st.none() | _TARGETS), max_size=9
    ),
    st.sampled_from([None, DELAYED, SILENT, OVER]),
)
def test_each_chat_is_sent_one_message_or_given_back_and_each_message_has_one_fate(
    leased: dict[int, tuple[dict[str, Any], dict[str, Any] | None, Target | None]], deferral: Deferral | None
) -> None:
    chats: dict[int, ChatRow] = {number: chat(number, **row) for number, (row, _, _) in leased.items()}
    messages = [
        claimed(seq=number, chat_id=number, **changes)
        for number, (_, changes, _) in leased.items()
        if changes is not None and plan.accepts(chats[number], DEFAULT_RULES)
    ]
    targets = {number: target for number, (_, _, target) in leased.items() if target is not None}
    made = plan.of(chats, messages, targets, deferring(deferral), NOW)
    sent = [message.chat_id for message in made.send]
    assert sorted([*sent, *made.give_back]) == sorted(chats)
    fates = [
        *sent,
        *(ending.message.chat_id for ending in made.end),
        *(deferred.message.chat_id for deferred in made.defer),
    ]
    moved_to = {supergroup for _, supergroup in made.move}
    assert sorted(fates) == sorted(m.chat_id for m in messages if m.chat_id not in moved_to)
    assert not {message.seq for message in made.send} & set(made.supersede)
    assert all(m.expires_at is None or m.expires_at > NOW for m in made.send)
