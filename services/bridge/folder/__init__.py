"""The folder: events for those who can write a file and nothing else (EVENTS_DIR).

A ``*.json`` file moved in is one event or a list of them. It is taken into ``.taken/`` under a name of
its own, committed, and only then removed; one that cannot be taken is in ``rejected/`` with its
reason. A crash in between is no matter: the name is used up in the transaction of its events.

    files     what is done with files; blocking
    intake    the loop: look, take, commit, remove
"""
