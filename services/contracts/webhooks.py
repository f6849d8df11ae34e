"""The bodies of the webhooks that the bridge calls, signed by Standard Webhooks."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel

from services.contracts.approvals import Approver, Decision
from services.contracts.fields import A_TIME, A_TRACE, AN_ID, about
from services.contracts.messages import MessageState
from services.contracts.responses import User


class ApprovalData(BaseModel):
    """An approval that was closed, or that reaches nobody."""

    id: Annotated[str, about("ID of the approval", AN_ID)]
    status: Annotated[
        Literal["decided", "expired", "cancelled", "undelivered"],
        about("how it was closed; undelivered: it is open, and no chat shows it", "decided"),
    ]
    title: Annotated[str, about("title of the question", "Deploy 2.1?")]
    correlation_id: Annotated[str, about("correlation ID of the approval", "order-4711")]
    event_id: Annotated[str, about("ID of the event that carries the question", AN_ID)]
    decision: Annotated[Decision | None, about("the decision; null if the approval was not decided")]
    needed: Annotated[int, about("number of different people who must choose the first option", 2)] = 1
    approved_by: Annotated[
        list[Approver], about("who has chosen the first option so far; empty if `needed` is 1")
    ] = []
    reason: Annotated[
        str | None, about("why it was cancelled, or why no message was delivered", "chat_not_found")
    ]
    metadata: Annotated[dict[str, Any] | None, about("the metadata of the request", {"run": 7})]


class ApprovalResult(BaseModel):
    """The call for an approval that was closed, or that reaches nobody."""

    type: Annotated[
        Literal["approval.decided", "approval.expired", "approval.cancelled", "approval.undelivered"],
        about("what happened", "approval.decided"),
    ]
    timestamp: Annotated[str, about("when it happened", A_TIME)]
    data: Annotated[ApprovalData, about("the approval")]


class ButtonData(BaseModel):
    """A tap on a button of a client's event."""

    message_id: Annotated[str, about("ID of the message with the button", AN_ID)]
    event_id: Annotated[str, about("ID of its event", AN_ID)]
    correlation_id: Annotated[str, about("correlation ID of its event", "order-4711")]
    title: Annotated[str, about("title of its event", "Build 7 failed")]
    chat_id: Annotated[int | None, about("chat of the message", 1001)]
    bot: Annotated[str, about("bot that shows it", "default")]
    text: Annotated[str, about("text of the button", "Retry")]
    data: Annotated[str, about("data of the button", "retry:7")]
    user: Annotated[User, about("person who tapped")]


class ButtonTapped(BaseModel):
    """The call for a tap on a button of a client's event."""

    type: Annotated[Literal["button.tapped"], about("what happened", "button.tapped")] = "button.tapped"
    timestamp: Annotated[str, about("when it happened", A_TIME)]
    data: Annotated[ButtonData, about("the tap")]


class MessageData(BaseModel):
    """A message that reached its final state."""

    message_id: Annotated[str, about("ID of the message", AN_ID)]
    event_id: Annotated[str, about("ID of its event", AN_ID)]
    event_type: Annotated[str, about("type of its event", "task_completion")]
    title: Annotated[str, about("title of its event", "Build finished")]
    chat_id: Annotated[int, about("the recipient", 1001)]
    bot: Annotated[str, about("the bot that sends it", "default")]
    status: Annotated[MessageState, about("final state of the message", "delivered")]
    reason: Annotated[str | None, about("why it was not delivered", "chat_not_found")]
    attempts: Annotated[int, about("number of attempts", 1)]
    possible_duplicate: Annotated[bool, about("whether it may have arrived more than once", False)]
    telegram_message_ids: Annotated[list[int], about("Telegram's ID of each part, in order", [42])]
    accepted_at: Annotated[str, about("when its event was accepted", A_TIME)]
    correlation_id: Annotated[str, about("correlation ID of its event", "order-4711")]
    trace_id: Annotated[str | None, about("trace of its event", A_TRACE)]


class MessageResult(BaseModel):
    """The call for a message that reached its final state."""

    type: Annotated[
        Literal[
            "message.delivered",
            "message.failed",
            "message.unknown",
            "message.suppressed",
            "message.expired",
            "message.cancelled",
        ],
        about("what happened", "message.delivered"),
    ]
    timestamp: Annotated[str, about("when it happened", A_TIME)]
    data: Annotated[MessageData, about("the message")]
