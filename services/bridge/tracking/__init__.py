"""Tracking: follows messages to their end, and repairs what failed.

- `api`: routes for cancel, edit, delete, replay, dead letters, jobs, traces and the stream.
- `search_params`: query parameters and bodies of these routes.
- `message_view`: messages as contract models; pure.
- `views`: timelines, dead letters, jobs and stream changes as contract models; pure.
- `follow_up`: stores the message that edits or deletes an earlier one.
- `edits`: changes of delivered messages, as messages that edit them.
- `deletions`: deletions of messages, as messages that delete them.
- `jobs`: bulk replays, stored as rows and done in portions.
- `stream`: state changes as server-sent events, read from the change feed.
- `approval_changes`: changes of approvals, as the change feed has them.
- `archive`: finished messages as compressed JSON Lines, each exactly once.
- `retention`: moves old messages into the archive, one replica at a time.
- `callbacks`: calls other programs when a message reaches its final state.
- `totals`: how many messages all replicas accepted, and how these ended.
- `stats_view`: totals, rates and the queue as the contract model.
- `lifespan`: opens the rest of it.
- `schema`, `metrics`: the tables and the series.
"""
