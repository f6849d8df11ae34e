"""The bridge: takes events over REST, stores them durably, and gets them to people on Telegram.

Follow one message:

    keys/         accept   who asks, may they, and not too fast; or is it signed
    api           accept   the request is checked and read; the answer waits for the commit
    folder/       accept   the same for files that are moved into a folder
    routes/       accept   who gets an event that names nobody (pure)
    accept        accept   the event becomes a submission: one message a recipient (pure)
    outbox/       enqueue, claim, pace, send, settle: the engine
    render        render   the event becomes text and entities (pure)
    messages      a message's life, as the API tells it
    app           wires all of it
"""
