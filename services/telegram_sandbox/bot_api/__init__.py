"""The Bot API.

- `server`: the ASGI application in front of the service; answers, and applies faults.
- `parameters`: parses a request's parameters.
- `call`: one call, its flood control and its log entry.
- `methods`: the table of methods, and those of bots, chats and updates.
- `message_methods`: methods that send, edit and delete messages.
- `reply_markup`: checks keyboards.
"""
