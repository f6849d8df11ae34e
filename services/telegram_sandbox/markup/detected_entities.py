"""Entities that Telegram detects in a text: mentions, hashtags, commands, links, e-mail addresses.

A bare host name is a link if it ends in one of the common top-level domains below; Telegram knows all
domains. Phone and bank card numbers are not detected.
"""

import re

from services.telegram_sandbox.markup.entity import Entity

KINDS = frozenset(
    {"mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "bank_card_number"}
)
DOMAINS = (
    "com|org|net|edu|gov|int|mil|io|dev|app|ai|me|info|biz|co|uk|de|fr|it|es|nl|eu|ch|at|be|pl|cz|ru|ua|us|ca"
    "|mx|br|ar|in|jp|cn|kr|au|nz|se|no|fi|dk|ie|pt|gr|tr|il|za|xyz|tech|cloud|site|online|page|blog|link|news"
    "|py|md|sh|rs|so|cc|tv|gg|fm|ly|to|is|zip|mov"
)
#: An entity contains no whitespace and at least one of these characters.
HINTED = re.compile(r"[^\s@#/$.]*[@#/$.]\S*")
TAIL = r"(?:[/?#][^\s<>\"«»]*)?"
NUMBER = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
PATTERN = re.compile(
    rf"(?P<url>\b(?:https?|ftp)://[^\s/?#<>\"«»,.]+\.[^\s/?#<>\"«»,]+{TAIL}|\b(?:tg|ton|tonsite)://[a-z0-9_-]+{TAIL})"
    r"|(?P<email>\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,8}\b)"
    rf"|(?P<host>(?<![\w@.:/-])(?:(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{DOMAINS})|{NUMBER}(?:\.{NUMBER}){{3}})"
    rf"(?::\d{{1,5}})?{TAIL}(?![\w@-]))"
    r"|(?P<mention>(?<![\w/@])@[A-Za-z][A-Za-z0-9_]{2,31}\b(?!@))"
    r"|(?P<hashtag>(?<![\w/#@$])#(?=\w*[^\W\d])\w{1,256}\b)"
    r"|(?P<cashtag>(?<![\w/#@$])\$(?-i:1INCH|[A-Z]{1,8})\b(?![$\w]))"
    r"|(?P<bot_command>(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?\b(?![/<>]))",
    re.IGNORECASE,
)
URL_END = ".,:;!?'\")]}"
OPENING = {")": "(", "]": "[", "}": "{"}


def entities(text: str) -> list[Entity]:
    return [
        _entity(found)
        for word in HINTED.finditer(text)
        for found in PATTERN.finditer(text, word.start(), word.end())
    ]


def _entity(found: re.Match[str]) -> Entity:
    kind = found.lastgroup or "url"
    if kind not in {"url", "host"}:
        return Entity(kind, found.start(), len(found.group()))
    return Entity("url", found.start(), _url_length(found.group()))


def _url_length(url: str) -> int:
    """Returns the length without trailing punctuation, which belongs to the sentence."""
    end = len(url)
    while url[end - 1] in URL_END and end > 1:
        opening = OPENING.get(url[end - 1])
        if opening and url.count(opening, 0, end) >= url.count(url[end - 1], 0, end):
            break
        end -= 1
    return end
