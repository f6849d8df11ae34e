"""Events: from a posted request to a text in a chat.

- `accept`: checks a request and makes events and messages of it; pure.
- `render`: makes the text of an event; pure.
- `templates`: texts of the operator's own.
"""
