"""What people are notified of, how it looks, and in which chats.

- `notification`: `compose` decides which alerts to notify, how loudly, in how many messages; pure.
- `render`: a notification as text and entities; pure.
- `refusing_chats`: which alerts are tried at a chat that refused the bot; pure.
- `recipients`: the chats of the settings, else the first chat, which the bridge names once.
"""
