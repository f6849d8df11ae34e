"""Files that people and programs send: stored in the database, once for each content.

- `store`: writes a file as its bytes arrive, reads it in chunks, deletes what no event needs.
- `attached`: the files of an event, written with it and read with its messages.
- `content`: what a file is, from its first bytes; pure.
- `limits`: which files Telegram takes as what; pure.
- `tables`: the tables.
"""
