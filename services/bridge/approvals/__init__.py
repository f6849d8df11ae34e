"""Approvals: a question with buttons for people in Telegram; one valid answer decides, or several that agree.

The record is an approval everywhere in code and API; its question is the message that people see.

- `api`: REST routes to create, list, read (and wait for), decide and cancel approvals.
- `approval`: an approval and the result of an answer to it (pure).
- `question_text`: the messages that people read: question, reminder, verdict (pure).
- `result_text`: the result of an approval and of an answer, in a line (pure).
- `from_request`: creates an approval from a request's body.
- `from_event`: creates an approval from an event of the type `approval_request`.
- `store`: stores, finds and deletes approvals.
- `approval_rows`: an approval as the columns of its table.
- `queries`: lists of approvals, and an approval with its messages and answers.
- `decisions`: an answer or a cancellation closes an approval, with all that follows in one transaction.
- `votes`: who has chosen the first option, where that needs several people.
- `shown_messages`: edits and cancels the messages that show an approval.
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
