"""Approvals: a question with buttons for people in Telegram; the first valid answer decides.

The record is an approval everywhere in code and API; its question is the message that people see.

- `api`: REST routes to create, list, read (and wait for), decide and cancel approvals.
- `approval`: an approval and the result of an answer to it (pure).
- `question_text`: the texts that people read: question, verdict, toast (pure).
- `from_request`: creates an approval from a request's body.
- `from_event`: creates an approval from an event of the type `approval_request`.
- `store`: stores, finds and deletes approvals.
- `queries`: lists of approvals, and an approval with its messages and answers.
- `decisions`: an answer or a cancellation closes an approval, with all that follows in one transaction.
- `expiry`: closes approvals that got no answer in time.
- `reach`: how many chats show a question (pure).
- `undelivered`: notices when a question reaches nobody, and when it reaches somebody after all.
- `reminders`: asks again after a while, and escalates to other people.
- `reask`: sends open questions again after an outage in which taps were lost.
- `after_commit`: counts and publishes committed changes.
- `view`: contract models of approvals (pure).
- `schema`: the tables.
- `metrics`: the metrics.
"""
