"""Maintenance windows as alert-relay takes and returns them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.contracts.fields import AN_ID, Flag, Moment, Strict, Words, about, storable
from services.contracts.incidents import Actor
from services.contracts.times import lifetime

LONGEST_WINDOW_SECONDS = 31 * 86_400.0


class NewMaintenanceWindow(Strict):
    """A window to begin or to plan: people are not notified of the alerts that it matches."""

    matchers: Annotated[
        list[Annotated[str, storable(800, 1)]],
        Field(min_length=1, max_length=20),
        about(
            "an alert has to match all of them, in Alertmanager's syntax: = and !=, or =~ and !~ with a"
            " regular expression (RE2) for the whole value",
            ["service=api", 'instance=~"db-.*"'],
        ),
    ]
    name: Annotated[Words, about("for people; default: the matchers", "deploy 2.1")] = ""
    cluster: Annotated[Words, about("whose alerts it matches; default: of every cluster", "main")] = ""
    starts_at: Annotated[Moment | None, about("default: now", "2026-01-31T08:00:00Z")] = None
    ends_at: Annotated[Moment | None, about("when it ends; or give `lasts`", "2026-01-31T10:00:00Z")] = None
    lasts: Annotated[
        Annotated[float, *lifetime(1, LONGEST_WINDOW_SECONDS)] | None,
        about("seconds, or a duration: how long it lasts, or each occurrence of it", "2h"),
    ] = None
    rule: Annotated[
        str,
        storable(300),
        about(
            "when it recurs, an RRULE (RFC 5545) with FREQ of DAILY, WEEKLY, MONTHLY or YEARLY, which begins"
            " at the time of day of `starts_at`; default: it does not",
            "FREQ=WEEKLY;BYDAY=SU",
        ),
    ] = ""
    zone: Annotated[Words, about("time zone of the rule", "Europe/Berlin")] = "UTC"
    spares_urgent: Annotated[
        Flag, about("whether people are notified of critical alerts all the same", False)
    ] = False
    reason: Annotated[str, storable(1_000), about("for people", "the database moves")] = ""
    by: Annotated[Words, about("name of the person", "Ada")] = ""


class MaintenanceWindow(BaseModel):
    """A maintenance window."""

    id: str = Field(examples=[AN_ID])
    name: str
    state: Literal["scheduled", "active", "ended"]
    matchers: list[str]
    cluster: str = Field(description="empty: every cluster")
    starts_at: str = Field(description="of the occurrence that is active, or of the next or last one")
    ends_at: str = Field(description="of the same occurrence")
    rule: str = Field(description="RRULE of a recurring window; empty: it does not recur")
    zone: str
    spares_urgent: bool
    created_by: Actor
    created_at: str
    ended_at: str | None = Field(description="when it was over, and did not recur any more")
    reason: str


class MaintenanceWindowList(BaseModel):
    windows: list[MaintenanceWindow]
