"""Callbacks: webhooks that report the final state of messages.

- `payload`: the body of a call: ``message.delivered``, ``message.failed``, …; pure.
- `store`: the callback of each key, and the position in the change feed.
- `publisher`: reads the change feed and writes calls.
- `api`: routes for a key's callback and for the calls of a message.

A message is reported to the event's ``callback_url``, to the callback of the key that posted it, and to
STATUS_WEBHOOK_URL. The calls are written in the transaction that moves the position in the feed, so each
final state is reported once, whatever crashes. ``services.bridge.webhooks`` makes the calls.
"""
