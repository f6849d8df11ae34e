"""Delivery: the worker that paces, claims, sends and settles messages.

- `worker`: the loop of one bot.
- `claims`: leases ready chats and opens an attempt for the next message of each: read, plan, write.
- `ready_chats`: locks the chats that can be claimed, and leases them.
- `claimed_rows`: reads messages with all columns that a sender needs.
- `edit_targets`: reads what edits edit, and whether copies of it may be in the chat.
- `reply_targets`: reads what messages answer.
- `plan`: decides what a claim does with each chat and message; pure.
- `after_restore`: holds or marks what may have been sent since a backup that was restored.
- `fair_queue`: divides a claim between clients; pure.
- `message_sender`: what a worker needs of that which sends: a bot of Telegram, or another channel.
- `attempts`: renders and sends one message, and decides its next state.
- `retry_policy`: maps the result of an attempt to the message's next state; pure.
- `result_buffer`: holds results until several are settled together.
- `settlement`: writes results and releases chats.
- `transactions`: settles and claims in one transaction, or one by one after that failed.
- `one_by_one`: settles and claims a message at a time; one that fails alone ends.
- `reports`: metrics, spans and the observer, after a settle.
- `leases`: renews a worker's leases and takes over those of lost workers.
- `bot_state`: stops a bot that Telegram refuses, and starts it again.
"""
