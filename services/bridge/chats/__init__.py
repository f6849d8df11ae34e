"""Chats: their settings and names.

- `stored`: the settings as they are stored; pure.
- `quiet`: quiet hours in a chat's own time zone; pure.
- `names`: which chat a name means; pure.
- `directory`: finds the ids of named chats, in the settings and from Telegram.
- `times`: times as people read them in a chat; pure.
- `zones`: the time zones of chats.
- `api`: the settings and the state of a chat over REST.
"""
