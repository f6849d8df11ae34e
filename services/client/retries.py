"""When a failed call is repeated, and after how long. Pure."""

from dataclasses import dataclass

from services.client.errors import ClientError, NoAnswerError, NotReachedError, ProblemError

#: Statuses of a server or a gateway that failed on the way: the outcome is unknown.
_UNKNOWN_OUTCOME = frozenset({500, 502, 504})
#: Refusals that pass; with ``Retry-After`` the service says that it did nothing.
_REFUSED_FOR_NOW = frozenset({429, 503})
#: An earlier request with the same Idempotency-Key is being stored.
_IN_FLIGHT = 409


@dataclass(frozen=True, slots=True)
class Retries:
    """How failures are retried.

    Args:
        patience: seconds from the first try within which another one may start.
        first: seconds before the first retry; doubled each time.
        longest: most seconds between two tries, unless the service asks for more.
    """

    patience: float = 30.0
    first: float = 0.2
    longest: float = 5.0

    def pause(
        self, error: ClientError, *, repeatable: bool, tries: int, elapsed: float, jitter: float
    ) -> float | None:
        """Seconds until the next try; None: the error is final.

        Args:
            error: of the last try.
            repeatable: whether a repetition is harmless although the request may have had its effect.
            tries: number of tries so far, from 1.
            elapsed: seconds since the first try began.
            jitter: random, 0 to 1, so that many clients do not return at the same moment.
        """
        if not _is_safe(error, repeatable=repeatable):
            return None
        # The exponent is bounded: patience may be endless.
        seconds = min(self.longest, self.first * 2 ** min(tries - 1, 30)) * (0.5 + jitter / 2)
        if isinstance(error, ProblemError) and error.retry_after is not None:
            seconds = max(seconds, error.retry_after)
        return seconds if elapsed + seconds <= self.patience else None


def _is_safe(error: ClientError, *, repeatable: bool) -> bool:
    if isinstance(error, NotReachedError):
        return True
    if isinstance(error, ProblemError):
        if error.status in _REFUSED_FOR_NOW:
            return repeatable or error.retry_after is not None
        return repeatable and (error.status in _UNKNOWN_OUTCOME or _is_in_flight(error))
    return repeatable and isinstance(error, NoAnswerError)


def _is_in_flight(error: ProblemError) -> bool:
    return error.status == _IN_FLIGHT and error.title == "In flight"
