"""What people are notified of, how it looks, and in which chats.

- `composition`: decides what people are notified of, how loudly, and by which messages; pure.
- `channel_purposes`: which channel takes which notifications; pure.
- `notification`: the content of one message; pure.
- `router`: which targets an incident has, and what comes next; pure.
- `audience`: the SQL of the targets that get the notifications of an incident.
- `assignment`: gives incidents an audience, and sets the timers of their escalation.
- `receipts`: the SQL of what arrived of an incident's last notification.
- `projection`: shows changed incidents in their messages, and puts storms together.
- `store`: reads what an incident's message lists, and enqueues the messages.
- `sounds`: the SQL of throttles: the last notification with a sound of each incident.
- `announcement`: enqueues messages that are about no single incident.
- `buttons`: the buttons of an incident's message, and what a tap on one means; pure.
- `bot_answer`: the answer to a command, or a message about no single incident, as it is stored; pure.
- `render`: a notification as text and entities; pure.
- `about_delivery`: alerts about the delivery of notifications, which must not raise themselves; pure.
- `refusing_chats`: which alerts are tried at a chat that refused the bot; pure.
- `recipients`: the targets of the settings; without a chat, the first one, which the bridge names once.
"""
