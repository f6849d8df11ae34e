"""Keys: who may do what, and how fast.

keys       a key, its scopes and its secret (pure)
scopes     which scope a route asks for (pure)
signing    requests that are signed instead of carrying a key (pure)
store      keys on disk
ring       the living keys in memory: a request asks no database
entry      lets a request in, or says what it lacks
api        keys over REST
__main__   keys at the terminal
"""
