"""Callbacks, the webhooks that report the final state of messages: requests and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel

from services.contracts.fields import A_TIME, AN_ID, Strict, Url, about


class NewCallback(Strict):
    """The callback of a key."""

    url: Annotated[
        Url,
        about(
            "URL that gets one call for each message of the key that reaches a final state, and for each"
            " question that reaches nobody",
            "https://ci.example/hooks/telegram",
        ),
    ]


class CallbackView(BaseModel):
    """The callback of a key. Keys with the same URL share the state of its endpoint."""

    client: Annotated[str, about("name of the key", "ci")]
    url: Annotated[str, about("URL that is called", "https://ci.example/hooks/telegram")]
    created_at: Annotated[str, about("when the callback was set", A_TIME)]
    previous_secret_until: Annotated[
        str | None, about("until this time, calls are signed with the previous secret as well", A_TIME)
    ]
    failing_since: Annotated[str | None, about("time of the first failure since the last success", A_TIME)]
    disabled_at: Annotated[
        str | None,
        about(
            "when calls stopped: after five days of failures, or a 410; one test call a day follows", A_TIME
        ),
    ]
    last_error: Annotated[str | None, about("why the last call failed", "502 Bad Gateway")]


class MadeCallback(CallbackView):
    """The callback of a key with its secret."""

    secret: Annotated[
        str,
        about("signs the calls by Standard Webhooks; shown only once", "whsec_C2FVsBQIhrscChlQIMV"),
    ]


class Callbacks(BaseModel):
    """The callbacks of all keys."""

    items: Annotated[list[CallbackView], about("callbacks, sorted by the name of the key")]


class CallView(BaseModel):
    """A webhook call that reports the final state of a message."""

    id: Annotated[str, about("header `webhook-id` of every attempt", AN_ID)]
    url: Annotated[
        str,
        about(
            "URL that is called; without the scope `keys:admin` scheme, host and port only",
            "https://ci.example",
        ),
    ]
    status: Annotated[Literal["waiting", "delivered", "failed"], about("state of the call", "delivered")]
    attempts: Annotated[int, about("number of attempts", 1)]
    last_error: Annotated[str | None, about("why the last attempt failed", "502 Bad Gateway")]
    created_at: Annotated[str, about("when the message reached its final state", A_TIME)]
    finished_at: Annotated[
        str | None, about("when the receiver accepted the call, or the last attempt failed", A_TIME)
    ]
    next_attempt_at: Annotated[str | None, about("when the next attempt is due, while it waits", A_TIME)]


class Calls(BaseModel):
    """The calls of a message."""

    items: Annotated[list[CallView], about("the calls; empty until the message has a final state")]
