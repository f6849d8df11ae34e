"""Everything that both clients can do: each call, wait and iteration under its name.

A method is described once, by the function that makes its call or its flow. The blocking client has it as
a function that returns the result, the asynchronous one as a function whose result is awaited.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from services.client import pages, waits
from services.client import stream as changes
from services.client.call import Call
from services.client.calls import approvals as approval_calls
from services.client.calls import dead_letters as dead_letter_calls
from services.client.calls import events as event_calls
from services.client.calls import files as file_calls
from services.client.calls import incidents as incident_calls
from services.client.calls import maintenance as maintenance_calls
from services.client.calls import messages as message_calls
from services.client.calls import settings as setting_calls
from services.client.calls import status as status_calls
from services.client.calls import targets as target_calls
from services.client.steps import Flow, Iteration

P = ParamSpec("P")
T = TypeVar("T")


class Blocking(ABC):
    """Takes the steps of flows in the calling thread."""

    @abstractmethod
    def run(self, work: Call[T] | Flow[T]) -> T:
        """Makes a call, or takes the steps of a flow, and returns the result."""

    @abstractmethod
    def iterate(self, work: Iteration[T]) -> Generator[T, None, None]:
        """Takes the steps of an iteration, and yields its items."""


class Asynchronous(ABC):
    """Takes the steps of flows in an event loop."""

    @abstractmethod
    async def run(self, work: Call[T] | Flow[T]) -> T:
        """Makes a call, or takes the steps of a flow, and returns the result."""

    @abstractmethod
    def iterate(self, work: Iteration[T]) -> AsyncGenerator[T, None]:
        """Takes the steps of an iteration, and yields its items."""


class _Method(Generic[P, T]):
    """A method that returns the result of a call or a flow."""

    def __init__(self, describe: Callable[P, Call[T] | Flow[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Blocking | Asynchronous | None, owner: type) -> object:
        if client is None:
            return self

        @wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> object:
            return client.run(self._describe(*args, **kwargs))

        return method


class _Iterator(Generic[P, T]):
    """A method that returns the items of an iteration."""

    def __init__(self, describe: Callable[P, Iteration[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, client: Blocking | Asynchronous | None, owner: type) -> object:
        if client is None:
            return self

        @wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> object:
            return client.iterate(self._describe(*args, **kwargs))

        return method


class Api:
    """The methods of both clients; see the functions that they name for arguments and results."""

    send = _Method(event_calls.send)
    send_all = _Method(event_calls.send_all)
    event = _Method(event_calls.event)
    event_types = _Method(event_calls.event_types)

    upload = _Method(file_calls.upload)
    file = _Method(file_calls.file)

    messages = _Method(message_calls.messages)
    every_message = _Iterator(pages.every_message)
    message = _Method(message_calls.message)
    ended = _Method(waits.ended)
    cancel = _Method(message_calls.cancel)
    replay = _Method(message_calls.replay)
    edit = _Method(message_calls.edit)
    delete = _Method(message_calls.delete)
    traces = _Method(message_calls.traces)
    correlation = _Method(message_calls.correlation)
    stream = _Iterator(changes.follow)

    dead_letters = _Method(dead_letter_calls.dead_letters)
    every_dead_letter = _Iterator(pages.every_dead_letter)
    replay_all = _Method(dead_letter_calls.replay_all)
    jobs = _Method(dead_letter_calls.jobs)
    job = _Method(dead_letter_calls.job)
    progress = _Iterator(waits.progress)
    cancel_job = _Method(dead_letter_calls.cancel_job)

    ask = _Method(approval_calls.ask)
    answer = _Method(waits.answer)
    approval = _Method(approval_calls.approval)
    approvals = _Method(approval_calls.approvals)
    every_approval = _Iterator(pages.every_approval)
    decide = _Method(approval_calls.decide)
    cancel_approval = _Method(approval_calls.cancel_approval)
    responses = _Method(approval_calls.responses)
    response_file = _Method(approval_calls.response_file)

    keys = _Method(setting_calls.keys)
    key = _Method(setting_calls.key)
    own_key = _Method(setting_calls.own_key)
    create_key = _Method(setting_calls.create_key)
    revoke_key = _Method(setting_calls.revoke_key)
    templates = _Method(setting_calls.templates)
    preview = _Method(setting_calls.preview)
    bots = _Method(setting_calls.bots)
    chat = _Method(setting_calls.chat)
    chats = _Method(setting_calls.chats)
    every_chat = _Iterator(pages.every_chat)
    set_chat = _Method(setting_calls.set_chat)
    change_chat = _Method(setting_calls.change_chat)
    routes = _Method(setting_calls.routes)
    set_routes = _Method(setting_calls.set_routes)
    recipients = _Method(setting_calls.recipients)
    callbacks = _Method(setting_calls.callbacks)
    set_callback = _Method(setting_calls.set_callback)
    delete_callback = _Method(setting_calls.delete_callback)
    message_callbacks = _Method(setting_calls.message_callbacks)

    stats = _Method(status_calls.stats)
    health = _Method(status_calls.health)
    checks = _Method(status_calls.checks)
    send_alerts = _Method(incident_calls.send_alerts)
    incidents = _Method(incident_calls.incidents)
    every_incident = _Iterator(pages.every_incident)
    incident = _Method(incident_calls.incident)
    incident_timeline = _Method(incident_calls.incident_timeline)
    digest = _Method(incident_calls.digest)
    acknowledge_incident = _Method(incident_calls.acknowledge_incident)
    escalate_incident = _Method(incident_calls.escalate_incident)
    unacknowledge_incident = _Method(incident_calls.unacknowledge_incident)
    resolve_incident = _Method(incident_calls.resolve_incident)
    note_incident = _Method(incident_calls.note_incident)
    targets = _Method(target_calls.targets)
    test_target = _Method(target_calls.test_target)
    maintenance_windows = _Method(maintenance_calls.maintenance_windows)
    maintenance_window = _Method(maintenance_calls.maintenance_window)
    start_maintenance = _Method(maintenance_calls.start_maintenance)
    end_maintenance = _Method(maintenance_calls.end_maintenance)
    delete_maintenance = _Method(maintenance_calls.delete_maintenance)
