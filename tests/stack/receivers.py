"""An HTTP server on loopback that stores the webhooks that Alertmanager sends."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    path: str
    authorization: str
    body: dict[str, Any]

    @property
    def names(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.body["alerts"]}


@dataclass
class Receiver:
    url: str
    received: list[Received] = field(default_factory=list)

    def at(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == path]

    def statuses(self, path: str, alertname: str) -> list[str]:
        """Returns the statuses of one alert, in the order of arrival."""
        return [
            alert["status"]
            for each in self.at(path)
            for alert in each.body["alerts"]
            if alert["labels"]["alertname"] == alertname
        ]


@contextmanager
def listening() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept = Received(self.path, self.headers.get("Authorization", ""), body)
            receiver.received.append(kept)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
