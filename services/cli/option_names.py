"""Errors name the option that a person typed, not the field of the API that it became. Pure."""

from collections.abc import Collection

from services.client.errors import FieldError

#: Where a request has a field.
_PARTS = ("body", "query", "path")
#: Options whose names differ from their fields; of two, the one that the command has.
_OPTIONS = {
    "answer": ("--text",),
    "approvers": ("--approver",),
    "attachments": ("--attach",),
    "buttons": ("--button",),
    "chat_id": ("--chat",),
    "deliver_at": ("--at",),
    "digest_key": ("--digest",),
    "escalate_to": ("--escalate",),
    "expires_at": ("--expires", "--days"),
    "expires_in": ("--expires",),
    "link_preview": ("--preview",),
    "options": ("--option",),
    "protect_content": ("--protect",),
    "remind_every": ("--remind",),
    "scopes": ("--scope",),
    "thread_id": ("--thread",),
    "time_zone": ("--zone",),
}


def readable(error: FieldError, options: Collection[str]) -> str:
    """One line for a wrong field.

    Args:
        error: of a request's field.
        options: of the command, such as ``--chat``. A field that none of them gave keeps its name.
    """
    loc = error.loc[1:] if error.loc[:1] and error.loc[0] in _PARTS else error.loc
    if not loc:
        return error.msg
    field, rest = str(loc[0]), list(loc[1:])
    names = _OPTIONS.get(field, (f"--{field.replace('_', '-')}",))
    option = next((name for name in names if name in options), None)
    if option is None:
        return f"{'.'.join(map(str, loc))}: {error.msg}"
    number = f" (value {rest[0] + 1})" if rest and isinstance(rest[0], int) else ""
    inner = " ".join(part for part in rest if isinstance(part, str))
    return f"{option}{number}{f' {inner}' if inner else ''}: {error.msg}"
