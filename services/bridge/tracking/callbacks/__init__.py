"""Callbacks: other programs are told how messages ended, in Standard Webhooks form.

    telling      what is told: ``message.delivered``, ``message.failed``, … (pure)
    store        who is told: each key's own programs, and how far the feed has been read
    publisher    reads the feed, and writes a call for whoever wants one
    api          routes: a key's own program, and the calls of a message

Who is told: the event's ``callback_url``, the program of the key that posted it, and that of the
settings. The calls are written in the transaction that moves the mark in the feed, so each ending
is told once, whatever is killed; making them is the business of services.bridge.webhooks.
"""
