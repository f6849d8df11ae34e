"""Calls for what an operator sets: keys, chats, routes, templates and callbacks."""

from collections.abc import Sequence

from services.client import call
from services.client.call import Call
from services.contracts.callbacks import Callbacks, Calls, MadeCallback, NewCallback
from services.contracts.chats import Bots, ChatChanges, Chats, ChatSettings, ChatView
from services.contracts.events import NewEvent
from services.contracts.keys import Keys, KeyView, MadeKey, NewKey
from services.contracts.routes import NewRoutes, RoutesView, RuleDocument, TrialResult
from services.contracts.templates import Preview, TemplatesView

_KEYS, _CHATS, _ROUTES, _CALLBACKS = (
    "/api/v1/keys",
    "/api/v1/chats",
    "/api/v1/routes",
    "/api/v1/callbacks",
)


def create_key(new: NewKey) -> Call[MadeKey]:
    """Creates a key; the answer is the only one that has its secret."""
    return call.post(MadeKey, _KEYS, new)


def keys() -> Call[Keys]:
    """Lists all keys, also expired and revoked ones, without secrets."""
    return call.get(Keys, _KEYS)


def own_key() -> Call[KeyView]:
    """Reads the key of this client: its name and scopes."""
    return call.get(KeyView, "/api/v1/key")


def key(key_id: str) -> Call[KeyView]:
    """Reads a key."""
    return call.get(KeyView, call.path(f"{_KEYS}/{{}}", key_id))


def revoke_key(key_id: str) -> Call[None]:
    """Revokes a key."""
    return call.delete(call.path(f"{_KEYS}/{{}}", key_id))


def bots() -> Call[Bots]:
    """Lists the bots and their default chats."""
    return call.get(Bots, "/api/v1/bots")


def templates() -> Call[TemplatesView]:
    """Lists the templates in use."""
    return call.get(TemplatesView, "/api/v1/templates")


def preview(event: NewEvent) -> Call[Preview]:
    """Returns the text of an event without sending it."""
    return call.post(Preview, "/api/v1/templates/preview", event)


def chat(chat_id: int | str, *, bot: str | None = None) -> Call[ChatView]:
    """Reads a chat's settings and state."""
    return call.get(ChatView, call.path(f"{_CHATS}/{{}}", chat_id), {"bot": bot})


def set_chat(chat_id: int | str, settings: ChatSettings, *, bot: str | None = None) -> Call[ChatView]:
    """Sets all settings of a chat; what is left out gets its default."""
    return call.put(ChatView, call.path(f"{_CHATS}/{{}}", chat_id), settings, {"bot": bot})


def change_chat(chat_id: int | str, changes: ChatChanges, *, bot: str | None = None) -> Call[ChatView]:
    """Changes the given settings of a chat; what is left out stays, None sets the default."""
    return call.patch(ChatView, call.path(f"{_CHATS}/{{}}", chat_id), changes, {"bot": bot})


def chats(*, bot: str | None = None, cursor: str | None = None, limit: int = 50) -> Call[Chats]:
    """Lists the chats of a bot, by their ids."""
    return call.get(Chats, _CHATS, {"bot": bot, "cursor": cursor, "limit": limit})


def routes() -> Call[RoutesView]:
    """Reads the routes in force."""
    return call.get(RoutesView, _ROUTES)


def set_routes(new: NewRoutes) -> Call[RoutesView]:
    """Replaces all routes. `ConflictError`: they are in a file, or at another version."""
    return call.put(RoutesView, _ROUTES, new)


def recipients(event: NewEvent, *, routes: Sequence[RuleDocument] | None = None) -> Call[TrialResult]:
    """Finds the recipients of an event by the routes in force or by these, without sending it."""
    body = {"event": event, **call.given(routes=None if routes is None else list(routes))}
    return call.post(TrialResult, f"{_ROUTES}/test", body)


def callbacks() -> Call[Callbacks]:
    """Lists the callbacks of all keys."""
    return call.get(Callbacks, _CALLBACKS)


def set_callback(client: str, url: str) -> Call[MadeCallback]:
    """Sets the callback of a key, with a new secret that only this answer has."""
    return call.put(MadeCallback, call.path(f"{_CALLBACKS}/{{}}", client), NewCallback(url=url))


def delete_callback(client: str) -> Call[None]:
    """Deletes the callback of a key."""
    return call.delete(call.path(f"{_CALLBACKS}/{{}}", client))


def message_callbacks(message_id: str) -> Call[Calls]:
    """Lists the webhook calls of a message."""
    return call.get(Calls, call.path("/api/v1/messages/{}/callbacks", message_id))
