"""Intake: stores events and their messages, and changes stored messages on request.

- `group_commit`: collects concurrent submissions into one transaction, and answers after its commit.
- `enqueue`: writes submissions, and queues their chats.
- `enqueue_postgres`: the same as a single PostgreSQL statement.
- `row_records`: makes the rows of events, messages and keys; pure.
- `single_use`: replay protection; names that may be used once, stored with the submission.
- `repeats`: counts repeated events at the first one.
- `digests`: messages that wait to be sent as one; `digest_ends`: what becomes of them.
- `update_keys`: messages that edit an earlier one instead of following it.
- `cancel_replay`: cancels waiting messages and replays finished ones.
"""
