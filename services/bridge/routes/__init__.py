"""Routes: the recipients of an event that names none.

- `routes`: rules, and the recipients that they give an event; pure.
- `destinations`: recipients with the ids of their chats; pure.
- `document`: rules as people write them, in a file or over REST; pure.
- `active_routes`: the rules in force, read again whenever the file or the database changes.
- `api`: routes over REST, with a dry run.
"""
