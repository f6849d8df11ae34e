"""The folder intake: events from files (EVENTS_DIR).

A ``*.json`` file that is moved in is one event or a list of events. It is moved to ``.taken/`` under a unique
name, committed, and only then removed. An invalid file is moved to ``rejected/`` with the reason. A crash in
between repeats nothing: the unique name is single-use, stored in the transaction of its events.

- `files`: operations on the files; blocking.
- `attached`: stores the files that events name by a path.
- `intake`: the loop: list, take, commit, remove.
"""
