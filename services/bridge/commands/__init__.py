"""Commands that people send to the bot, such as /status or /mute; replies show measurements or "unknown".

- `commands`: each command and its reply (pure).
- `parse`: a text as a command (pure).
- `snapshot`: the latest measurements, for replies.
- `modes`: how the bot confirms texts in each chat.
"""
