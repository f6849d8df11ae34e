"""``cct setup``: connects a bot: takes its token, finds a chat, sends a test message, writes ``.env``."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from services.cli import env_file
from services.cli.arguments import read
from services.cli.bot_api import TELEGRAM_URL, BotApi, Chat, Me, RefusedError, UnreachableError, Update
from services.cli.command import command, root
from services.cli.dialogue import Dialogue
from services.cli.exit_codes import ExitCode
from services.cli.session import Session, UsageError
from services.contracts.fields import TOKEN_FORM
from services.contracts.times import seconds_of

#: The repository, if the command runs from a clone of it.
_CLONE = Path(__file__).parents[3]
_TEST = "CCTelegram is connected: events and questions come to this chat."
_NOBODY = (
    "No person may answer questions or use commands yet: set TELEGRAM_ALLOWED_USERS, or use --user. The bot"
    " shows the id of who writes to it."
)
#: Chats of which one key chooses one.
MOST_CHATS = 9
_CONFLICT = 409
_NO_BOT = (401, 404)


@dataclass(frozen=True, slots=True)
class FoundChat:
    """A chat that wrote to the bot, or that the bot was added to.

    Args:
        chat: the chat.
        person: id of who wrote or added it; None: not known.
    """

    chat: Chat
    person: int | None = None

    def variables(self) -> dict[str, str]:
        """The settings that name the chat, and the person who may answer in it."""
        # The person also in a private chat, where it is the default: the file may name that of an earlier
        # set-up, who must not go on to decide.
        person = "" if self.person is None else str(self.person)
        return {"TELEGRAM_CHAT_IDS": str(self.chat.id), "TELEGRAM_ALLOWED_USERS": person}


@command(root, "setup", "cct setup")
def setup(
    session: Session,
    *,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="TELEGRAM_BOT_TOKEN", help="Token of the bot. Default: you type it."),
    ] = None,
    chat: Annotated[
        int | None, typer.Option("--chat", help="Id of the chat. Default: the one that you choose.")
    ] = None,
    user: Annotated[
        int | None,
        typer.Option("--user", help="Id of the person who may answer. Default: of --chat, if it is private."),
    ] = None,
    first_chat: Annotated[
        bool, typer.Option("--first-chat", help="Take the first chat that writes to the bot from now on.")
    ] = False,
    proxy: Annotated[
        str | None,
        typer.Option(
            "--proxy",
            envvar="TELEGRAM_PROXY_URL",
            help="Proxy to Telegram: http://… or socks5://user:password@host:port.",
        ),
    ] = None,
    api_url: Annotated[
        str, typer.Option("--api-url", envvar="TELEGRAM_API_URL", help="Bot API server.")
    ] = TELEGRAM_URL,
    file: Annotated[
        Path | None, typer.Option("--file", help="File that is written. Default: .env of the clone.")
    ] = None,
    within: Annotated[str, typer.Option("--within", help="Longest wait for a chat.")] = "10m",
) -> None:
    """Connect a bot: type its token, write to it, look at the test message.

    The token and the chat are written to .env, which `make run` and Docker Compose read. Without a terminal
    nothing is asked: give TELEGRAM_BOT_TOKEN, and --chat or --first-chat.
    """
    dialogue = Dialogue(session.output)
    path = file or (_CLONE if (_CLONE / "compose.yaml").is_file() else Path()) / ".env"
    seconds = read("--within", within, seconds_of) or 0.0
    if not (dialogue.has_person or chat or first_chat):
        raise UsageError("--chat: give the id of the chat, or --first-chat: there is no terminal to ask at")
    with _connected(dialogue, token, api_url, proxy) as (bot, me):
        # The id of a private chat is that of the person.
        named = FoundChat(Chat(id=chat, type=""), user or (chat if chat > 0 else None)) if chat else None
        found = _tested(dialogue, bot, me, named, seconds, first=first_chat)
        written = {"TELEGRAM_BOT_TOKEN": bot.token, **found.variables()}
        written |= {"TELEGRAM_PROXY_URL": bot.proxy} if bot.proxy else {}
        written |= {"TELEGRAM_API_URL": api_url} if api_url != TELEGRAM_URL else {}
    _write(dialogue, path, written)
    if session.output.json:
        session.output.record({"bot": me.username, "chat_id": found.chat.id, "file": str(path)})
        return
    session.output.line(f"Written: {path} ({', '.join(written)})")
    if not written["TELEGRAM_ALLOWED_USERS"]:
        session.output.note(_NOBODY)
    session.output.note("Start the suite, or start it again: make run, or docker compose up --wait")


@contextmanager
def _connected(
    dialogue: Dialogue, token: str | None, api_url: str, proxy: str | None
) -> Iterator[tuple[BotApi, Me]]:
    """A bot that Telegram accepts; asks for another token, or a proxy, until it does."""
    while True:
        token = _token(dialogue, token)
        bot = _bot(token, api_url, proxy)
        try:
            me = bot.me()
        except RefusedError as error:
            bot.close()
            reason = "there is no bot with this token" if error.code in _NO_BOT else str(error)
            text = f"Telegram refuses the token: {reason}. Copy it again from @BotFather."
            dialogue.report(text, ExitCode.REFUSED)
            token = None
        except UnreachableError as error:
            bot.close()
            text = f"{api_url} is not reached: {error}. Behind a firewall a proxy may lead there."
            dialogue.report(text, ExitCode.NOT_DONE)
            proxy = dialogue.text("URL of the proxy, or Enter to try again") or proxy
        else:
            break
    with bot:
        dialogue.say(f"The bot is @{me.username} ({me.first_name}).")
        yield bot, me


def _bot(token: str, api_url: str, proxy: str | None) -> BotApi:
    try:
        return BotApi(token, api_url, proxy)
    except ValueError:
        raise UsageError("--proxy: write http://host:port or socks5://user:password@host:port") from None


def _token(dialogue: Dialogue, token: str | None) -> str:
    """The given token, or one that the person types; it looks like one of Telegram's."""
    while True:
        if token is None:
            token = dialogue.secret("Token of the bot, from @BotFather in Telegram (/newbot, or /mybots)")
        token = token.strip()
        if TOKEN_FORM.fullmatch(token):
            return token
        text = "This is no token of a bot: it looks like 123456789:AAE5x…, digits before the colon."
        dialogue.report(text, ExitCode.REFUSED)
        token = None


def _tested(
    dialogue: Dialogue, bot: BotApi, me: Me, found: FoundChat | None, within: float, *, first: bool
) -> FoundChat:
    """A chat that the test message reached, as the person says; without a person, as Telegram says."""
    while True:
        chosen = found or _choose(dialogue, bot, me, within, first=first)
        try:
            bot.send(chosen.chat.id, _TEST)
        except RefusedError as error:
            text = f"Telegram does not deliver to chat {chosen.chat.id}: {error}."
            dialogue.report(f"{text} Write to @{me.username} there first.", ExitCode.REFUSED)
        except UnreachableError as error:
            dialogue.report(f"Telegram gave no answer to the test message: {error}.", ExitCode.NOT_DONE)
        else:
            if dialogue.confirm("A test message was sent. Is it there?"):
                return chosen
            dialogue.say(f"Look for the chat with @{me.username}; it may be muted or archived.")
        found = None


def _choose(dialogue: Dialogue, bot: BotApi, me: Me, within: float, *, first: bool) -> FoundChat:
    """Waits for chats that write to the bot, and lets the person choose one."""
    # Of a group's messages a bot gets those alone that name it, unless its privacy mode is off.
    in_group = f"add it to your group and write /start@{me.username} there"
    # A person who chooses sees the names; without one, who wrote before the start must not be taken.
    after = _newest(dialogue, bot, me) if first else None
    dialogue.say(f"Now write to @{me.username} in Telegram, or {in_group}.")
    deadline = time.monotonic() + within
    found: dict[int, FoundChat] = {}
    while time.monotonic() < deadline:
        updates = _updates(dialogue, bot, after)
        after = updates[-1].update_id if updates else after
        found |= _chats(updates, found)
        if first and found:
            return next(iter(found.values()))
        if found:
            _show(dialogue, list(found.values()))
            if chosen := dialogue.number("Press its number, or Enter to wait for another one", len(found)):
                return list(found.values())[chosen - 1]
    raise dialogue.ended(f"No chat wrote to @{me.username} in time.", ExitCode.NO_RESULT)


def _newest(dialogue: Dialogue, bot: BotApi, me: Me) -> int | None:
    try:
        return bot.newest_update()
    except UnreachableError as error:
        raise dialogue.ended(f"@{me.username} cannot be read: {error}.", ExitCode.NOT_DONE) from None
    except RefusedError as error:
        raise _refused(dialogue, error) from None


def _updates(dialogue: Dialogue, bot: BotApi, after: int | None) -> list[Update]:
    try:
        return bot.updates(after)
    except UnreachableError as error:
        dialogue.say(f"No answer: {error}. It is tried again.")
        time.sleep(1.0)
        return []
    except RefusedError as error:
        raise _refused(dialogue, error) from None


def _refused(dialogue: Dialogue, error: RefusedError) -> typer.Exit:
    text = f"Telegram refuses to send updates: {error}."
    if error.code == _CONFLICT:
        text = "Another program receives this bot's updates: stop the suite, or remove the bot's webhook."
    return dialogue.ended(text, ExitCode.REFUSED)


def _chats(updates: Sequence[Update], known: dict[int, FoundChat]) -> dict[int, FoundChat]:
    """The chats of updates that are not known yet, as many as can be shown."""
    fresh: dict[int, FoundChat] = {}
    for update in updates:
        seen = update.seen
        if seen is not None and seen.chat.id not in known and len(known) + len(fresh) < MOST_CHATS:
            fresh.setdefault(seen.chat.id, FoundChat(seen.chat, seen.sender.id if seen.sender else None))
    return fresh


def _show(dialogue: Dialogue, found: Sequence[FoundChat]) -> None:
    for number, each in enumerate(found, 1):
        dialogue.say(f"{number}: {each.chat.name} ({each.chat.type}, id {each.chat.id})")


def _write(dialogue: Dialogue, path: Path, variables: dict[str, str]) -> None:
    try:
        env_file.write(path, variables)
    except OSError as error:
        raise dialogue.ended(f"--file: cannot write {path}: {error.strerror}", ExitCode.NOT_DONE) from None
    except ValueError as error:
        raise dialogue.ended(f"--file: cannot write {path}: {error}", ExitCode.NOT_DONE) from None
