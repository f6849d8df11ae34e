"""The attachments of accepted events: stored files that Telegram takes, or the request is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from services.bridge.events.accept import AcceptedRequest
from services.bridge.files import names
from services.kit.errors import Problem, invalid_input
from services.outbox.files import limits
from services.outbox.files.store import FileStore, StoredFile
from services.outbox.messages import EventFile, EventRecord, Submission


async def checked_request(request: AcceptedRequest, store: FileStore) -> AcceptedRequest:
    """The request with the kind and name of each file decided.

    A file that is fetched by URL is decided once it is there.

    Args:
        request: as it was accepted.
        store: of the files.

    Raises:
        Problem: 422, a file is not stored, or Telegram would not take it as what it is to be sent as.
    """
    if not request.has_files:
        return request
    submission = request.submission
    ids = {one.file_id for one in _files(submission) if one.file_id is not None}
    stored = await store.find(ids) if ids else {}
    events = [
        _checked(event, stored, (number,) if request.is_list else ())
        for number, event in enumerate(submission.events)
    ]
    return replace(request, submission=replace(submission, events=tuple(events)))


def _files(submission: Submission) -> Iterator[EventFile]:
    return (one for event in submission.events for one in event.files)


def _checked(event: EventRecord, stored: Mapping[str, StoredFile], place: tuple[int, ...]) -> EventRecord:
    files = []
    for number, one in enumerate(event.files):
        where: tuple[int | str, ...] = (*place, "attachments", number)
        files.append(one if one.file_id is None else _of_stored(one, stored.get(one.file_id), where))
    return replace(event, files=tuple(files))


def _of_stored(one: EventFile, known: StoredFile | None, where: tuple[int | str, ...]) -> EventFile:
    if known is None:
        text = "no file has this ID; one that no event names is deleted after an hour"
        raise _refused((*where, "file_id"), text)
    why = limits.refusal(one.kind, known.media_type, known.size, known.pixels)
    if why is not None:
        raise _refused((*where, "kind"), why)
    kind = limits.kind_of(one.kind, known.media_type, known.size, known.pixels)
    return replace(one, kind=kind, filename=names.complete(one.filename, known.media_type))


def _refused(where: tuple[int | str, ...], text: str) -> Problem:
    return invalid_input([{"loc": where, "msg": text}])
