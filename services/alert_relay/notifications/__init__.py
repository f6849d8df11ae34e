"""What people are notified of, how it looks, and in which chats.

- `composition`: decides what people are notified of, how loudly, and by which messages; pure.
- `notification`: the content of one message; pure.
- `projection`: shows changed incidents in their messages, and puts storms together.
- `store`: reads what an incident's message lists, and enqueues the messages.
- `buttons`: the buttons of an incident's message, and what a tap on one means; pure.
- `bot_answer`: the answer to a command, as it is stored; pure.
- `render`: a notification as text and entities; pure.
- `about_delivery`: alerts about the delivery of notifications, which must not raise themselves; pure.
- `refusing_chats`: which alerts are tried at a chat that refused the bot; pure.
- `recipients`: the chats of the settings, else the first chat, which the bridge names once.
"""
