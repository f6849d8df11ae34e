"""Exit codes of `cct`. Scripts rely on them: docs/cli.md lists them."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0  #: done; the first option was chosen; delivered; everything works
    NO = 1  #: another option was chosen; not delivered; something is wrong
    NO_RESULT = 2  #: no answer or no end in time; also wrong usage of the command
    REFUSED = 3  #: the service refused the request
    NOT_DONE = 4  #: no connection, no answer, or no usable URL, key or file
