"""Flows that wait: for the answer to a question, for the end of messages, for the end of a job."""

from collections.abc import Sequence
from dataclasses import replace

from services.client import call
from services.client.calls import approvals, dead_letters, messages
from services.client.site import Site
from services.client.steps import Emit, Flow, GetSite, Iteration, Pause
from services.contracts.approvals import ApprovalView
from services.contracts.messages import MessageDetail
from services.contracts.tracking import Job

#: Seconds that one request waits at the bridge, the most that it allows.
LONG_POLL_SECONDS = 55.0
#: A long poll that is answered earlier than this although nothing happened is not repeated at once.
_TOO_SOON_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def answer(approval_id: str, *, within: float | None = None) -> Flow[ApprovalView]:
    """Waits until a question is closed or reaches nobody, also while the bridge restarts.

    Args:
        approval_id: of the question.
        within: seconds to wait at most; None: until it is closed, which it is when it expires.

    Returns:
        The question; it is still open if the time is over. ``undelivered``: no chat shows it, since its last
        message was not delivered; it can still be decided over the API.
    """
    site: Site = yield GetSite()
    started = asked = site.clock()
    while True:
        left = LONG_POLL_SECONDS if within is None else max(0.0, within - (asked - started))
        polled = approvals.approval(approval_id, wait=min(left, LONG_POLL_SECONDS))
        view: ApprovalView = yield replace(polled, patience=call.OUTAGE_SECONDS)
        now = site.clock()
        if view.status != "open" or (within is not None and now - started >= within):
            return view
        if now - asked < _TOO_SOON_SECONDS:
            yield Pause(_TOO_SOON_SECONDS)
        asked = site.clock()


def ended(message_ids: Sequence[str], *, within: float | None = None) -> Flow[list[MessageDetail]]:
    """Waits until messages have reached a final state.

    Args:
        message_ids: of the messages.
        within: seconds to wait at most; None: until all have ended.

    Returns:
        The messages in the same order; some have not ended if the time is over.
    """
    site: Site = yield GetSite()
    started = site.clock()
    found: dict[str, MessageDetail] = {}
    pause = _FIRST_PAUSE
    while True:
        for message_id in message_ids:
            if message_id not in found or found[message_id].finished_at is None:
                found[message_id] = yield replace(messages.message(message_id), patience=call.OUTAGE_SECONDS)
        passed = site.clock() - started
        over = within is not None and passed >= within
        if over or all(message.finished_at is not None for message in found.values()):
            return [found[message_id] for message_id in message_ids]
        yield Pause(pause if within is None else min(pause, within - passed))
        pause = min(_LONGEST_PAUSE, pause * 2)


def progress(job_id: str) -> Iteration[Job]:
    """Yields a job again and again until it has ended; the last one is how it ended."""
    pause = _FIRST_PAUSE
    while True:
        job: Job = yield replace(dead_letters.job(job_id), patience=call.OUTAGE_SECONDS)
        yield Emit(job)
        if job.status != "running":
            return
        yield Pause(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)
