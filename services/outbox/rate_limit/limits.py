"""Telegram's rate limits, and the token buckets of a chat, which are columns of its row. Pure.

Only the worker that has leased a chat reads and writes its tokens, so they need no other lock.
"""

from dataclasses import dataclass

from services.kit.token_bucket import TokenBucket

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Telegram's rate limits. The numbers are from its FAQ; they change, so the engine obeys 429 as well.

    Args:
        bot_per_second: messages a second of one bot, over all chats.
        chat_per_second: messages a second to one chat.
        chat_burst: messages to one chat at once after a silence.
        group_per_minute: messages a minute to one group.
    """

    bot_per_second: float = 30.0
    chat_per_second: float = 1.0
    chat_burst: float = 3.0
    group_per_minute: float = 20.0


@dataclass(frozen=True, slots=True)
class ChatTokens:
    """Tokens of a chat after its last message.

    Args:
        tokens: of the limit a second; below 0 after a message that was sent without a token.
        group_tokens: of the limit a minute, which holds for groups only.
        sent_at: start of the last call to Telegram, seconds since the epoch.
        open_at: when the next message may go, seconds since the epoch.
    """

    tokens: float
    group_tokens: float
    sent_at: float
    open_at: float


def after_send(chat: ChatTokens, now: float, limits: Limits, *, group: bool) -> ChatTokens:
    """Takes one token of each limit; ``open_at`` becomes the time when each limit has a token again."""
    single = TokenBucket(limits.chat_per_second, limits.chat_burst, chat.tokens, chat.sent_at)
    single.spend(now)
    wait, group_tokens = single.wait_seconds(now), chat.group_tokens
    if group:
        per_minute = limits.group_per_minute
        of_group = TokenBucket(per_minute / MINUTE, per_minute, chat.group_tokens, chat.sent_at)
        of_group.spend(now)
        wait, group_tokens = max(wait, of_group.wait_seconds(now)), of_group.tokens
    return ChatTokens(single.tokens, group_tokens, now, now + wait)


def is_group(chat_id: int) -> bool:
    """Returns whether a chat is a group, supergroup or channel: their ids are negative."""
    return chat_id < 0
