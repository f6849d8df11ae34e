"""What people do with incidents in Telegram.

- `words`: the bot's words: toasts and answers to commands; pure.
- `maintenance`: maintenance windows: the command, and the button that ends one.
- `handler`: handles taps, commands and changes of membership.
- `handed_on`: receives the updates that the bridge received, where both services have one bot.
- `inbound`: receives updates while the service runs.
"""
