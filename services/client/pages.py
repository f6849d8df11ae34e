"""Iterations over all pages of a list."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

from services.client import call
from services.client.call import Call
from services.client.calls import approvals, dead_letters, incidents, messages, settings
from services.client.steps import Emit, Iteration

P = ParamSpec("P")
T = TypeVar("T")


class _Page(Protocol):
    next_cursor: str | None


PageT = TypeVar("PageT", bound=_Page)


def _every(
    describe: Callable[P, Call[PageT]], items: Callable[[PageT], Sequence[T]]
) -> Callable[P, Iteration[T]]:
    """Yields the items of a page and of all that follow; takes the arguments of the page's call."""

    @wraps(describe)
    def every(*args: P.args, **kwargs: P.kwargs) -> Iteration[T]:
        wanted = describe(*args, **kwargs)
        while True:
            page: PageT = yield wanted
            for item in items(page):
                yield Emit(item)
            if page.next_cursor is None:
                return
            wanted = call.next_page(wanted, page.next_cursor)

    return every


every_message = _every(messages.messages, lambda page: page.items)
every_dead_letter = _every(dead_letters.dead_letters, lambda page: page.items)
every_approval = _every(approvals.approvals, lambda page: page.items)
every_chat = _every(settings.chats, lambda page: page.items)
every_incident = _every(incidents.incidents, lambda page: page.incidents)
