"""The rules with all times divided by a factor; the rest of each expression stays as it is. Pure."""

import copy
import re
from collections.abc import Mapping
from typing import Any

#: An hour is a minute.
FACTOR = 60
#: Ages whose thresholds are divided too. The age of the bot's updates is not among them: a poll of Telegram
#: lasts up to 65 s however short the rules are.
AGES = (
    "cctelegram_oldest_message_age_seconds",
    "cctelegram_reconcile_age_seconds",
    "cctelegram_retention_last_success_age_seconds",
)
#: Retention of bridge runs once a minute: its success may be a little older than 3700 s / 60.
SLACK_SECONDS = 15
#: Thresholds that a shared machine cannot be brought to, or should not: rule → (as written, as used here).
LOWERED: Mapping[str, tuple[str, str]] = {"HighCPUUsage": ("> 80", "> 25")}
_MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration(written: str) -> str:
    """Divides a duration such as ``5m`` by the factor."""
    number, unit = re.fullmatch(r"(\d+)([smhd])", written).groups()  # type: ignore[union-attr]
    return f"{max(1_000, int(number) * _MILLISECONDS[unit] // FACTOR)}ms"


def expression(written: str) -> str:
    """Divides the ranges of an expression, and the thresholds of ages."""
    made = re.sub(r"\[(\d+[smhd])\]", lambda match: f"[{_range(match[1])}]", written)
    for age in AGES:
        pattern = rf"({age}\{{[^}}]*\}}\)? *[<>] *)(\d+)"
        made = re.sub(pattern, lambda match: match[1] + _seconds(match[2]), made)
    return made


def _range(written: str) -> str:
    """A range of at least five scrapes, of one second each."""
    return f"{max(5_000, int(duration(written).removesuffix('ms')))}ms"


def _seconds(written: str) -> str:
    shortened = int(written) // FACTOR
    return str(shortened + SLACK_SECONDS if int(written) > 3_600 else shortened)


def rules(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the groups of a rule file, shortened and evaluated every second."""
    made = copy.deepcopy(dict(groups))
    for group in made["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = expression(rule["expr"])
            before, after = LOWERED.get(rule.get("alert", ""), ("", ""))
            rule["expr"] = rule["expr"].replace(before, after) if before else rule["expr"]
            if "for" in rule:
                rule["for"] = duration(rule["for"])
    return made
