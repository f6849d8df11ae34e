"""The container's health check says in its exit code what the address said."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from services.kit.healthcheck import failure


@contextmanager
def answering(status: int, body: bytes = b"why") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/health/ready"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_that_is_ready_is_well() -> None:
    with answering(200) as url:
        assert failure(url) == ""


def test_a_service_that_is_not_ready_says_why() -> None:
    with answering(503, b'{"not_ready": {"database": "unhealthy"}}') as url:
        assert failure(url) == f'{url}: 503 {{"not_ready": {{"database": "unhealthy"}}}}'


def test_nobody_there_is_not_well() -> None:
    with answering(200) as url:
        pass
    assert failure(url).startswith(f"{url}: ")


def test_the_exit_code_is_what_docker_asks_for() -> None:
    command = [sys.executable, "-m", "services.kit.healthcheck"]
    with answering(200) as url:
        assert subprocess.run([*command, url], check=False, timeout=30).returncode == 0
    with answering(503) as url:
        done = subprocess.run([*command, url], check=False, timeout=30, capture_output=True, text=True)
        assert done.returncode == 1
        assert "503" in done.stderr
