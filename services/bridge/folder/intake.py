"""The loop of the folder intake: list, take, commit, remove.

The kernel reports new files (inotify and its like). The folder is also listed each second, since network file
systems report nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import orjson
import structlog
import watchfiles

from services.bridge.approvals import from_event
from services.bridge.approvals.from_event import EventApprovals
from services.bridge.chats.directory import FindChats
from services.bridge.events import accept, addressed
from services.bridge.events.accept import Caller
from services.bridge.events.attachments import checked_request
from services.bridge.folder import attached
from services.bridge.folder.files import MOST_AT_ONCE, File, Folder
from services.bridge.metrics import FolderMetrics
from services.bridge.routes.routes import Routes
from services.kit.clock import Clock, rfc3339
from services.kit.errors import Problem
from services.kit.health import Level, Measurement
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import Outbox
from services.outbox.files.store import FileStore
from services.outbox.intake import single_use
from services.outbox.intake.single_use import RepeatedError
from services.outbox.messages import SingleUse, Submission

log = structlog.get_logger()

#: Client of these events, and scope of the single-use file names.
CLIENT = "folder"
LOOK_SECONDS = 1.0
#: Incomplete JSON that did not change for this long is not being written any more: it is rejected.
STABLE_SECONDS = 2.0
LATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a file.

    Args:
        bytes: largest size, the same as of a request's body.
        trace_url: base URL of the trace viewer, or empty.
        refusal: returns why a callback's URL may not be called, or None.
        dedup_window: seconds in which a `dedup_key` is counted, if the event does not say.
    """

    bytes: int
    trace_url: str = ""
    refusal: Callable[[str], str | None] = lambda _: None
    dedup_window: float = 600.0


class FolderIntake:
    """Takes events from files that are moved into a folder.

    Args:
        folder: the folder.
        limits: of a file.
        outbox: stores the events.
        files: stores their files.
        routes: returns the rules in force; called for each file.
        find_chats: finds the ids of chats that events name by a text.
        asks: creates the approval of an ``approval_request``.
        on_approvals: called with the number of created approvals.
        telemetry: of the service.
        metrics: of the folder intake.
        clock: the time.
    """

    def __init__(
        self,
        folder: Folder,
        limits: Limits,
        *,
        outbox: Outbox,
        files: FileStore,
        routes: Callable[[], Routes],
        find_chats: FindChats,
        asks: EventApprovals,
        on_approvals: Callable[[int], None],
        telemetry: Telemetry,
        metrics: FolderMetrics,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._outbox = outbox
        self._files = files
        self._routes = routes
        self._find_chats = find_chats
        self._asks = asks
        self._on_approvals = on_approvals
        self._telemetry = telemetry
        self._metrics = metrics
        self._clock = clock
        self._news = asyncio.Event()
        #: Files with incomplete JSON: size, time of change, and since when these are the same.
        self._unfinished: dict[str, tuple[int, int, float]] = {}
        self._waiting_since: float | None = None
        self._waiting = 0
        self._error: str | None = None
        #: Why files of the last reading stay: nothing says who gets them, or the store takes no file now.
        self._postponed: Problem | None = None
        self._elsewhere = False
        self._looked = False

    async def run(self) -> None:
        """Takes files until cancelled."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                self._news.clear()
                await self._once()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._folder.close()

    async def _watch(self) -> None:
        """Wakes the loop when a file arrives; without the kernel's help the next listing finds it."""
        try:
            async for _ in watchfiles.awatch(self._folder.root, recursive=False, debounce=50, step=10):
                self._news.set()
        except (OSError, RuntimeError) as error:  # errors of its Rust part are RuntimeErrors
            log.warning("folder_not_watched", error=str(error), instead=f"listed each {LOOK_SECONDS:g} s")

    async def _once(self) -> None:
        try:
            if await asyncio.to_thread(self._folder.lock):
                self._elsewhere = False
                await self._read_folder()
            elif not self._elsewhere:
                self._elsewhere = True
                log.info("folder_elsewhere", folder=str(self._folder.root))
        except OSError as error:
            self._fail(f"{error.strerror}: {error.filename}")
        except Problem as problem:
            self._fail(problem.detail or problem.title)
        except Exception as error:
            self._fail(str(error))
            log.exception("folder_failed")
        else:
            self._error = None
        self._looked = True

    def _fail(self, error: str) -> None:
        if error != self._error:  # logged once, not every second
            log.error("folder_not_taken", error=error)
        self._error = error

    async def _read_folder(self) -> None:
        self._postponed = None
        found = await asyncio.to_thread(self._folder.waiting)
        self._note_waiting(len(found))
        self._unfinished = {
            file.path.name: self._unfinished[file.path.name]
            for file in found
            if file.path.name in self._unfinished
        }
        left = found
        while left:
            portion, left = left[:MOST_AT_ONCE], left[MOST_AT_ONCE:]
            await self._take(portion)
        self._note_waiting(len(await asyncio.to_thread(self._folder.waiting)))
        if self._postponed is not None:
            raise self._postponed

    def _note_waiting(self, number: int) -> None:
        self._waiting = number
        self._metrics.waiting.set(number)
        if number == 0:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()

    async def _take(self, files: Sequence[File]) -> None:
        whole = [file for file in files if await self._is_whole(file)]
        taken = [file for file in whole if file.taken]
        if len(taken) < len(whole):
            fresh = [file for file in whole if not file.taken]
            moved = await asyncio.to_thread(self._folder.take, fresh)
            taken += moved.files
            if moved.error is not None:
                self._postponed = _not_now(moved.error)
        read = [(file, found) for file in taken if (found := await self._read(file)) is not None]
        # Concurrently, so that they share a commit; the intake preserves their order.
        results = await asyncio.gather(*(self._store(reading) for _, reading in read), return_exceptions=True)
        done = [file for (file, _), result in zip(read, results, strict=True) if result is None]
        if done:
            await asyncio.to_thread(self._folder.remove, done)
            release = partial(single_use.delete_names, scope=CLIENT, names=[file.single_use for file in done])
            await self._outbox.database.write("folder", release)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _is_whole(self, file: File) -> bool:
        """Whether a file is complete; a file that never will be is rejected.

        A prefix of a JSON text is never valid JSON, so valid JSON is complete.
        """
        if file.size > self._limits.bytes:
            await self._reject(file, self._too_large())
            return False
        body = await self._content(file)
        if body is None:
            return False
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError as error:
            if self._is_left_alone(file):
                await self._reject(
                    file,
                    Problem(422, "Invalid input", errors=[{"loc": [], "msg": f"not valid JSON: {error}"}]),
                )
            return False
        return True

    def _too_large(self) -> Problem:
        limit = f"A file may have at most {self._limits.bytes} bytes (MAX_BODY_BYTES)."
        return Problem(413, "Content Too Large", limit)

    async def _content(self, file: File) -> bytes | None:
        """The content of a file; None if it is gone, cannot be read now, or was put aside as too large.

        A file that cannot be read stays, and keeps no other one back.
        """
        try:
            content = await asyncio.to_thread(self._folder.read, file, self._limits.bytes)
        except FileNotFoundError:  # moved away again
            return None
        except OSError as error:
            self._postponed = _not_now(error)
            return None
        if content is None:  # it has grown since it was listed
            await self._reject(file, self._too_large())
        return content

    def _is_left_alone(self, file: File) -> bool:
        now = self._clock.monotonic()
        size, changed_at, since = self._unfinished.get(file.path.name, (-1, -1, now))
        if (size, changed_at) != (file.size, file.changed_at):
            self._unfinished[file.path.name] = (file.size, file.changed_at, now)
            return False
        return now - since >= STABLE_SECONDS

    async def _read(self, file: File) -> accept.AcceptedRequest | None:
        """The accepted events of a file; None if it is invalid and was rejected, or has to wait."""
        body = await self._content(file)
        if body is None:
            return None
        caller = Caller(CLIENT, None, "", None, SingleUse(CLIENT, file.single_use))
        try:
            return await self._accepted(body, caller)
        except Problem as problem:
            if problem.status >= attached.NOT_NOW:  # or an event has no chat yet
                self._postponed = problem
            else:
                await self._reject(file, problem)
            return None

    async def _accepted(self, body: bytes, caller: Caller) -> accept.AcceptedRequest:
        draft = attached.draft(body)
        if draft is not None:
            used = partial(single_use.is_used, scope=CLIENT, name=caller.once.name if caller.once else "")
            if await self._outbox.database.read("folder", used):
                # Stored before a crash; its files may be gone by now.
                return accept.AcceptedRequest(Submission((), (), single_use=caller.once), b"")
            # What is wrong with the events is found before a file is stored.
            (await self._addressed(draft.body, caller))()
            body = await attached.stored(draft, self._folder, self._files)
        accepts = await self._addressed(body, caller)
        reading = await checked_request(accepts(), self._files)
        while await from_event.codes_taken(self._outbox.database, reading.codes):
            reading = await checked_request(accepts(), self._files)
        return reading

    async def _addressed(self, body: bytes, caller: Caller) -> Callable[[], accept.AcceptedRequest]:
        """Finds the chats of a file's events; the result accepts them, with new codes each time."""
        request = addressed.address(body, self._routes())
        found = await self._find_chats(request.named) if request.named else {}
        return partial(
            accept.accept,
            request,
            caller,
            self._telemetry.new_trace(),
            now=self._clock.time(),
            trace_url=self._limits.trace_url,
            asks=await self._asks.in_zones(self._outbox.database, request, found),
            chats=found,
            refusal=self._limits.refusal,
            dedup_window=self._limits.dedup_window,
        )

    async def _store(self, reading: accept.AcceptedRequest) -> None:
        """Returns once the events are on disk, stored now or before a crash."""
        try:
            await self._outbox.enqueue(reading.submission)
        except RepeatedError:
            self._metrics.files.labels("repeated").inc()
        else:
            self._metrics.files.labels("taken").inc()
            self._on_approvals(len(reading.codes))

    async def _reject(self, file: File, problem: Problem) -> None:
        reason: dict[str, object] = {
            "rejected_at": rfc3339(self._clock.time()),
            "title": problem.title,
            "detail": problem.detail,
            "errors": list(problem.errors or ()),
        }
        try:
            await asyncio.to_thread(self._folder.reject, file, reason)
        except OSError as error:
            self._postponed = _not_now(error)
            return
        self._metrics.files.labels("rejected").inc()
        log.warning("file_rejected", file=file.name, title=problem.title, errors=reason["errors"])

    async def check(self) -> Measurement:
        """Health: unhealthy while no file can be taken or stored, degraded while files wait for long."""
        if not self._looked:
            return Measurement(Level.UNKNOWN)
        since = self._waiting_since
        age = 0.0 if since is None else self._clock.monotonic() - since
        measured = {
            "events_dir": str(self._folder.root),
            "waiting": self._waiting,
            **({"taken_by": "another process"} if self._elsewhere else {}),
            **({"error": self._error} if self._error else {}),
        }
        if self._error:
            return Measurement(Level.UNHEALTHY, measured)
        late = age > LATE_SECONDS and not self._elsewhere
        return Measurement(Level.DEGRADED if late else Level.HEALTHY, measured)


def _not_now(error: OSError) -> Problem:
    """The state of a file that stays for a reason of the system, such as a missing permission."""
    return Problem(503, "File not taken", f"{error.strerror}: {error.filename}")


@asynccontextmanager
async def open_folder(intake: FolderIntake) -> AsyncIterator[None]:
    """Takes files while the block runs."""
    running = asyncio.create_task(intake.run())
    try:
        yield
    finally:
        running.cancel()
        for ended in await asyncio.gather(running, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("folder_failed", exc_info=ended)
