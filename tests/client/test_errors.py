"""Errors: problem documents as typed exceptions with one readable line."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client import errors
from services.client.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotAuthorizedError,
    NotFoundError,
    ProblemError,
    TooManyRequestsError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, NotAuthorizedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, InvalidInputError),
        (429, TooManyRequestsError),
        (503, UnavailableError),
        (500, ProblemError),
        (418, ProblemError),
        (599, ProblemError),
    ],
)
def test_a_status_has_its_exception(status: int, kind: type[ProblemError]) -> None:
    assert type(errors.problem(status, {}, b"")) is kind


def test_a_wrong_field_is_named_in_the_text() -> None:
    document = {
        "title": "Invalid input",
        "status": 422,
        "detail": "See `errors`: one entry a field.",
        "errors": [
            {"loc": ["data", "commit_hash"], "msg": "the type git_commit needs it"},
            {"loc": ["body", "chat_id", 1], "msg": "write a whole number"},
        ],
    }
    error = errors.problem(422, {}, json.dumps(document).encode())
    assert str(error) == (
        "Invalid input (422): data.commit_hash: the type git_commit needs it; chat_id.1: write a whole number"
    )
    assert error.errors[0].loc == ("data", "commit_hash")
    assert error.document == document


def test_a_missing_scope_is_named() -> None:
    body = b'{"title":"Not allowed","detail":"The key lacks keys:admin.","scope":"keys:admin"}'
    error = errors.problem(403, {}, body)
    assert isinstance(error, ForbiddenError)
    assert error.scope == "keys:admin"


def test_a_page_of_a_gateway_is_an_error_too() -> None:
    error = errors.problem(502, {}, b"<html>\n  <body>Bad\x1b[31m gateway</body></html>" + b"x" * 5_000)
    assert str(error).startswith("Bad Gateway (502): <html> <body>Bad[31m gateway</body></html>xxx")
    assert len(str(error)) < 300


def test_the_time_to_wait_is_a_number_or_a_date() -> None:
    assert errors.problem(503, {"retry-after": "7"}, b"").retry_after == 7
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    found = errors.problem(503, {"retry-after": later}, b"").retry_after
    assert found is not None
    assert 0 < found <= 100
    earlier = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert errors.problem(503, {"retry-after": earlier}, b"").retry_after == 0
    for odd in ("", "soon", "-1", "9" * 40, "²"):
        assert errors.problem(503, {"retry-after": odd}, b"").retry_after is None


_TEXTS = st.fixed_dictionaries({}, optional={"title": st.text(), "detail": st.text()})


@given(
    status=st.integers(400, 999),
    body=st.binary() | _TEXTS.map(lambda document: json.dumps(document).encode()),
    retry_after=st.text(),
)
def test_whatever_a_server_answers_is_one_printable_line(status: int, body: bytes, retry_after: str) -> None:
    text = str(errors.problem(status, {"retry-after": retry_after}, body))
    assert text
    assert text.isprintable()
