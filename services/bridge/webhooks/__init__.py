"""Webhooks: results told to other programs, signed, and tried again until they are taken.

    signing       the headers of Standard Webhooks (pure)
    destinations  where a call may go: no private address by accident
    store         calls that wait, and the attempts made
    worker        makes the calls

A call is written in the transaction of what it tells about, so neither is without the other.
"""
