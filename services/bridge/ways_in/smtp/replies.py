"""Replies of SMTP: the problem of a request as a code, an enhanced code, the reason, and what to do. Pure."""

from services.kit.errors import Problem

STORED = "250 2.0.0 Stored"
#: Longest reply, characters: RFC 5321 allows lines of 512.
LONGEST = 450
_BY_STATUS = {
    401: "535 5.7.8",
    403: "550 5.7.1",
    409: "451 4.5.0",
    413: "552 5.3.4",
    429: "451 4.7.0",
}
_SERVER_ERRORS = 500
_REFUSED = "554 5.6.0"
_LATER = "451 4.3.0"


def of_problem(problem: Problem) -> str:
    """The reply to a mail that was not stored: 4xx if it can be sent again, 5xx if it will not be taken."""
    code = _BY_STATUS.get(problem.status, _LATER if problem.status >= _SERVER_ERRORS else _REFUSED)
    faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problem.errors or ()]
    words = "; ".join(faults) or problem.detail or problem.title
    plain = " ".join("".join(c if " " <= c <= "~" else " " for c in words).split())
    return f"{code} {plain}"[:LONGEST]


def is_refusal(reply: str) -> bool:
    """Whether the reply says that the mail will not be taken."""
    return reply.startswith("5")
