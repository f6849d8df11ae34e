"""Which faults apply to a request."""

from services.telegram_sandbox.faults import Fault, Faults, Kind, Plan


def test_a_fault_is_removed_after_its_times() -> None:
    faults = Faults()
    faults.add(Fault(Kind.RESET, times=2))
    plans = [faults.plan("sendmessage", 1) for _ in range(3)]
    assert [plan.fault.kind if plan and plan.fault else None for plan in plans] == ["reset", "reset", None]
    assert faults.rules == {}


def test_a_fault_without_times_stays_until_it_is_deleted() -> None:
    faults = Faults()
    number = faults.add(Fault(Kind.RESET, times=None))
    assert all(faults.plan("sendmessage", 1) for _ in range(100))
    assert faults.remove(number)
    assert not faults.remove(number)
    assert faults.plan("sendmessage", 1) is None


def test_a_fault_may_be_limited_to_methods_and_chats() -> None:
    faults = Faults()
    faults.add(Fault(Kind.RESET, methods=frozenset({"sendmessage"}), chat_ids=frozenset({5}), times=None))
    assert faults.plan("getme", 5) is None
    assert faults.plan("sendmessage", 6) is None
    assert faults.plan("sendmessage", None) is None
    assert faults.plan("sendmessage", 5) is not None


def test_the_oldest_fault_that_matches_is_used_first() -> None:
    faults = Faults()
    faults.add_all([Fault(Kind.ANSWER, status=500), Fault(Kind.ANSWER, status=502)])
    statuses = [plan.fault.status for _ in range(2) if (plan := faults.plan("x", 1)) and plan.fault]
    assert statuses == [500, 502]


def test_latency_is_added_to_another_fault() -> None:
    faults = Faults()
    close = Fault(Kind.CLOSE)
    faults.add_all([close, Fault(Kind.LATENCY, seconds=1.5), Fault(Kind.LATENCY, seconds=0.5)])
    assert faults.plan("x", 1) == Plan(2.0, close)


def test_random_latency_is_within_its_bounds_and_repeats_with_its_seed() -> None:
    faults = Faults()
    faults.add(Fault(Kind.LATENCY, seconds=1, seconds_max=3, times=None))
    faults.seed(42)
    first = [plan.latency for _ in range(20) if (plan := faults.plan("x", 1))]
    faults.seed(42)
    second = [plan.latency for _ in range(20) if (plan := faults.plan("x", 1))]
    assert first == second
    assert all(1 <= latency <= 3 for latency in first)
    assert len(set(first)) > 10


def test_a_fault_matches_with_its_probability() -> None:
    faults = Faults()
    faults.seed(7)
    faults.add(Fault(Kind.RESET, probability=0.25, times=None))
    hits = sum(faults.plan("x", 1) is not None for _ in range(2_000))
    assert 420 < hits < 580


def test_a_random_miss_does_not_count_against_times() -> None:
    faults = Faults()
    faults.add(Fault(Kind.RESET, probability=1e-9))
    assert faults.plan("x", 1) is None
    assert len(faults.rules) == 1
