"""Webhooks: signed calls to other programs, retried until they are accepted.

- `destinations`: which addresses may be called; no private address by accident (SSRF).
- `visible_url`: what anyone may read of a webhook's URL; pure.
- `store`: waiting calls and their attempts.
- `endpoints`: failing endpoints, and when they are disabled.
- `worker`: makes the calls.
- `schema`, `metrics`: the tables and the series.

A call is written in the same transaction as the fact that it reports.
"""
