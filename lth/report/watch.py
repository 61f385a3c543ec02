"""Serves the report's page on this machine while runs go on, and makes it again when their files change."""

import hashlib
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lth.report.write import live_page

_HOST = "127.0.0.1"
_REST = 3  # pause before the next page, as a multiple of the time that one takes: pages take a quarter of the time


def watch(paths: Sequence[str | Path], column: str, port: int, every: float) -> None:
    """Serve the page until Ctrl-C, and print its address.

    paths: folders that hold runs, at any depth; they may still be empty
    column: column of results.csv
    port: port of 127.0.0.1; 0 = one that is free
    every: seconds between two checks of the files

    Raises ValueError if the port is taken or out of range, or `every` is not positive.
    """
    if not (every > 0 and 0 <= port < 65536):
        raise ValueError(f"--every {every} must be more than 0 seconds, --port {port} a number from 0 to 65535")
    try:
        server = _Server((_HOST, port), _Handler)
    except OSError as error:
        raise ValueError(f"--port {port} cannot be used ({error.strerror}); --port 0 takes one that is free") from None
    with server:
        server.make(paths, column)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://{_HOST}:{server.server_port}/ follows {', '.join(map(str, paths))}; Ctrl-C ends", flush=True)
        try:
            while True:
                time.sleep(max(every, _REST * server.took))
                server.make(paths, column)
        except KeyboardInterrupt:
            server.shutdown()


class _Server(ThreadingHTTPServer):
    """Holds the page, its data and a stamp that changes with them."""

    daemon_threads = True
    known: dict[Path, tuple[Any, Any]]
    page = b""
    stamp = ""
    took = 0.0

    def make(self, paths: Sequence[str | Path], column: str) -> None:
        """Make the page anew. If files disappear or are half written meanwhile, the page does not change."""
        self.known = getattr(self, "known", {})
        begun = time.monotonic()
        try:
            text = live_page(paths, column, self.known)
        except OSError:
            return
        self.took = time.monotonic() - begun
        page = text.replace('<html lang="en">', '<html lang="en" data-watched>', 1)
        page = page.replace("connect-src 'none'", "connect-src 'self'", 1)
        self.page, self.stamp = page.encode(), hashlib.sha256(page.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with the page, or with its stamp; only to requests that name this machine as their host."""
        hosts = {f"{name}:{self.server.server_port}" for name in (_HOST, "localhost")}
        if self.headers.get("Host") not in hosts:  # a page of another origin whose host name resolves to this machine
            self.send_error(403)
        elif self.path == "/":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif self.path == "/stamp":
            self._send(self.server.stamp.encode(), "text/plain")
        else:
            self.send_error(404)

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing per request."""
