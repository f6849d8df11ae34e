"""Chats: their settings.

- `stored`: the settings as they are stored; pure.
- `quiet`: quiet hours in a chat's own time zone; pure.
- `api`: the settings and the state of a chat over REST.
"""
