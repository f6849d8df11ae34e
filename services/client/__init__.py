"""A typed client of the suite's APIs, blocking or asynchronous: ``Client()``, ``AsyncClient()``.

A method is described once, and both clients take the same steps:

- `calls`: each call of the API as a value; `call` is its type.
- `exchange`: the flow of one call, with the rules of `retries`; `site` says where it goes.
- `waits`, `pages`, `stream`: flows of several calls.
- `steps`: what a flow consists of.
- `api`: the methods of both clients. `clients`: the two clients. `transport`: what they share at httpx.

`connection` finds the URL and the key in `sources`; `settings` has the variables. `errors` are the
exceptions.
"""

from services.client.clients import AsyncClient, Client
from services.client.errors import ClientError

__all__ = ["AsyncClient", "Client", "ClientError"]
