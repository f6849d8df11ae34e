"""API keys: who may do what, and at which rate.

- `keys`: a key, its secret, its scopes, and the scope that each route needs; pure.
- `signing`: signed requests, which carry no key; pure.
- `store`: the table of keys.
- `keyring`: the valid keys in memory, so that a request needs no database.
- `lookup`: asks the database for a key that is not in memory.
- `authenticate`: admits a request by its key or its signature.
- `api`: keys over REST.
- `__main__`: keys at the terminal.
"""
