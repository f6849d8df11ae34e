"""Single-use names are used up by what is stored, and by nothing else."""

from dataclasses import replace

from services.kit.errors import Problem
from services.outbox.intake import enqueue
from services.outbox.intake.single_use import RepeatedError
from services.outbox.messages import EventFile, MediaKind, SingleUse
from tests.outbox.conftest import Desk
from tests.outbox.making import NOW, event, message, submission


async def test_a_refused_submission_does_not_use_its_name(desk: Desk) -> None:
    name = SingleUse("folder", "report.json")
    gone = EventFile(
        kind=MediaKind.DOCUMENT, filename="a", file_id="gone", url=None, caption="", spoiler=False
    )
    refused = replace(submission(of=event(files=(gone,))), single_use=name)
    stored = replace(submission(message()), single_use=name)
    (problem,) = await enqueue.store(desk.database, [refused], NOW)
    assert isinstance(problem, Problem)
    assert (problem.status, isinstance(problem, RepeatedError)) == (422, False)
    assert await enqueue.store(desk.database, [stored], NOW) == [None]
    (repeated,) = await enqueue.store(desk.database, [replace(stored, events=(event(),))], NOW)
    assert isinstance(repeated, RepeatedError)
    assert len(await desk.claim()) == 1
