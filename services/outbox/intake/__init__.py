"""Intake: how events and their messages get into the database, and how a caller changes them there.

- `enqueue`: collects concurrent submissions into one transaction (group commit).
- `enqueue_postgres`: the same as a single PostgreSQL statement.
- `row_records`: the rows of events, messages and keys, as both dialects store them.
- `single_use`: replay protection; names that may be used once, stored with the submission.
- `update_keys`: messages that edit an earlier one instead of following it.
- `cancel_replay`: cancels waiting messages and replays finished ones.
"""
