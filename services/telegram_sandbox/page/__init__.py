"""The page that shows the chats as a phone would.

- `api`: the page, its JSON and its stream of changes; `static/` holds the files.
"""
