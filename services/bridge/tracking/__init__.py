"""Tracking: what became of each message, and what people do about it.

api          routes: cancel, replay, dead letters, jobs, traces, the stream
lives        a message's life and a correlation's story, as the API tells them (pure)
jobs         replays in bulk: rows that survive, worked through in portions
stream       state changes as server-sent events, read from the engine's feed
archive      finished messages as compressed JSON Lines, exactly once
retention    moves what is old into the archive, one replica at a time
callbacks    tells others how messages ended, by the bridge's webhooks
opening      wires all of it
"""
