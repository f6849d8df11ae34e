"""The digest as alert-relay returns it."""

from pydantic import BaseModel, Field


class Digest(BaseModel):
    """What was measured of a period."""

    begin: str = Field(description="of the period, RFC 3339")
    until: str = Field(description="its end")
    text: str = Field(description="the text of the weekly digest")
