"""A server of one run's page while it trains, for this machine alone."""

from __future__ import annotations

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jaxconv.run.page import page, run_content

__all__ = ["serve"]


def serve(folder: Path, port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """A server of the page of a run, whose curves follow the run's records.

    Args:
      folder: the run's.
      port: to listen at, on 127.0.0.1; 0 for any free one.

    Returns:
      The server, for `serve_forever`; and the address of the page, with a token that others do not know.

    Raises:
      ConfigError: if the folder is no run's.
      DataError: if its records are damaged.
      OSError: if the port is taken.
    """
    token = secrets.token_urlsafe(16)
    run_content(folder)  # raises before anything is served

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths = {f"/{token}/": _html, f"/{token}/data.json": _json}
            if self.path not in paths:
                self.send_error(404)
                return
            try:
                kind, content = paths[self.path](folder)
            except Exception as error:  # of records that are moved or damaged meanwhile; the page keeps its last ones
                self.send_error(503, type(error).__name__)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not printed."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    return server, f"http://127.0.0.1:{server.server_port}/{token}/"


def _content(folder: Path) -> dict[str, Any]:
    return run_content(folder) | {"live": "data.json"}


def _html(folder: Path) -> tuple[str, bytes]:
    return "text/html; charset=utf-8", page(_content(folder))


def _json(folder: Path) -> tuple[str, bytes]:
    return "application/json", json.dumps([_content(folder)], allow_nan=False).encode()
