"""Counts of questions and answers, every series from the start."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.bridge.approvals.approval import AnswerOutcome, AnswerVia, ApprovalState

_CLOSED = (ApprovalState.DECIDED, ApprovalState.EXPIRED, ApprovalState.CANCELLED)


class ApprovalMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.asked = Counter("cctelegram_approvals_asked", "Questions asked", registry=registry)
        self.closed = Counter("cctelegram_approvals_closed", "Questions closed", ["state"], registry=registry)
        self.answers = Counter(
            "cctelegram_approval_answers",
            "Answers given, and what they came to",
            ["via", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "cctelegram_approval_decision_seconds",
            "From asked to decided",
            buckets=(5, 15, 60, 300, 900, 3_600, 14_400, 86_400),
            registry=registry,
        )
        for state in _CLOSED:
            self.closed.labels(state.value)
        for via in AnswerVia:
            for outcome in AnswerOutcome:
                self.answers.labels(via.value, outcome.value)
