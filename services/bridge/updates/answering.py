"""What taps, replies and commands have in common: an answer to a question."""

from dataclasses import replace

from sqlalchemy import Connection

from services.bridge.approvals import decisions
from services.bridge.approvals.approval import Approval, Via, Who
from services.bridge.approvals.decisions import Changed
from services.bridge.updates.context import Done, Situation
from services.bridge.updates.parse import Sender
from services.bridge.updates.responses import Link


def answer(  # noqa: PLR0917 - who, how and what of an answer
    connection: Connection,
    s: Situation,
    asked: Approval,
    sender: Sender,
    via: Via,
    chosen: int | None,
    done: Done,
) -> Changed:
    who = Who(sender.name, sender.id)
    # Who was taken off the list after it was asked decides nothing any more.
    still = replace(asked, approvers=tuple(one for one in asked.approvers if one in s.allowed))
    changed = decisions.answer(connection, still, who, via, chosen, now=s.now, trace=s.trace)
    done.changes.append(changed)
    done.answered = (via, changed.outcome)
    done.attributes["cctelegram.approval_id"] = asked.id
    done.attributes["cctelegram.outcome"] = changed.outcome.value
    done.stranger = sender.id not in s.allowed
    return changed


def link_of(asked: Approval, message_id: str | None = None) -> Link:
    return Link(message_id, asked.event_id, asked.correlation_id, asked.id, asked.trace)
