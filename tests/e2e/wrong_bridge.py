"""``python -m services.bridge``, but wrong in the one way that ``WRONG`` names. The proof has to see each."""

import asyncio
import os
import random

from services.bridge.app import create_app
from services.bridge.settings import BridgeSettings
from services.kit.runner import main
from services.outbox.intake.group_commit import Intake, Receipt
from services.outbox.messages import Claimed, Outcome, Reason, Rendered, Result, Submission
from services.outbox.telegram.sender import Sender

#: Longer than a bridge lives in the proof.
LATE_SECONDS = 5.0
_enqueue, _send = Intake.enqueue, Sender.send
_background: set[asyncio.Task[object]] = set()


def _later(work: "asyncio.Task[object]") -> None:
    _background.add(work)
    work.add_done_callback(_background.discard)


async def answers_before_it_stores(intake: Intake, submission: Submission) -> Receipt:
    async def store() -> object:
        await asyncio.sleep(LATE_SECONDS)
        return await _enqueue(intake, submission)

    _later(asyncio.create_task(store()))
    return Receipt(submission.events[0].accepted_at)


async def sends_twice(sender: Sender, message: Claimed, rendered: Rendered) -> Result:
    await _send(sender, message, rendered)
    return await _send(sender, message, rendered)


async def does_not_wait_for_telegram(sender: Sender, message: Claimed, rendered: Rendered) -> Result:
    async def send() -> object:
        await asyncio.sleep(random.random())  # noqa: S311 - one after the other, but in no order
        return await _send(sender, message, rendered)

    _later(asyncio.create_task(send()))
    at = message.claimed_at
    return Result(Outcome.SENT, Reason.NONE, at, at, message_id=1)


async def says_sent_and_does_not(sender: Sender, message: Claimed, rendered: Rendered) -> Result:
    if message.seq % 10:
        return await _send(sender, message, rendered)
    at = message.claimed_at
    return Result(Outcome.SENT, Reason.NONE, at, at, message_id=1)


async def gives_everything_up(_: Sender, message: Claimed, __: Rendered) -> Result:
    at = message.claimed_at
    return Result(Outcome.NOT_SENT, Reason.BAD_REQUEST, at, at)


WRONGS = {
    wrong.__name__: wrong
    for wrong in (
        answers_before_it_stores,
        sends_twice,
        does_not_wait_for_telegram,
        says_sent_and_does_not,
        gives_everything_up,
    )
}

if __name__ == "__main__":
    wrong = WRONGS[os.environ["WRONG"]]
    if wrong is answers_before_it_stores:
        setattr(Intake, "enqueue", wrong)  # noqa: B010 - mypy refuses the assignment, rightly
    else:
        setattr(Sender, "send", wrong)  # noqa: B010 - the same
    main(create_app, BridgeSettings)
