"""Delivery: the worker that claims, sends and settles messages.

- `worker`: the loop of one bot.
- `claims`: leases ready chats and opens an attempt for the next message of each.
- `claimed_rows`: reads claimed messages with what a sender needs of them.
- `attempts`: renders and sends one message, and decides what becomes of it.
- `retry_policy`: maps the outcome of an attempt to the message's next state; pure.
- `settlement`: writes decisions and releases chats.
- `leases`: renews a worker's leases and takes over those of lost workers.
- `fair_queue`: shares the rate between clients; pure.
"""
