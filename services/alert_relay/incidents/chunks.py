"""Splits long lists: both databases limit the parameters of a statement to about 32,000."""

from collections.abc import Iterator, Sequence

#: Values in one statement.
CHUNK = 1_000


def chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
