"""A server of one run's page while it trains, for this machine alone."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import webbrowser
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.run.page import page, run_content
from jaxconv.training.progress import Notice

__all__ = ["open_page", "serve", "serving"]


_POLL_SECONDS = 0.1  # most that the end of a run waits for its server
_IN_TERMINAL = {"elinks", "links", "lynx", "w3m", "www-browser"}


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


@contextlib.contextmanager
def serving(
    folder: Path, report: Callable[[Any], None], show: Callable[[str], None]
) -> Iterator[Callable[[Any], None]]:
    """Serve the page of a run while it trains. A page that cannot be served or shown costs no run.

    Args:
      folder: the run's, which need not exist yet.
      report: called with each event of the run.
      show: called once with the address.

    Yields:
      The function to call with each event instead; with the first one the page is served, until the end of the block.
    """
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []
    waiting = True

    def first(event: Any) -> None:
        nonlocal waiting
        if waiting and (folder / "config.toml").is_file():
            waiting = False
            try:
                server, address = serve(folder)
                thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
                thread.start()
                running.append((server, thread))
                report(Notice(f"{folder} at {address}"))
                show(address)
            except (ConfigError, DataError, OSError, webbrowser.Error) as error:
                report(Notice(f"the page of the run cannot be shown: {error}"))
        report(event)

    try:
        yield first
    finally:
        for server, thread in running:
            server.shutdown()
            server.server_close()
            thread.join()


def open_page(address: str) -> None:
    """Open an address in the default browser, without waiting for it; not in one that takes this terminal.

    Raises:
      webbrowser.Error: if there is none.
    """
    browser = webbrowser.get()
    if Path(getattr(browser, "name", "")).name not in _IN_TERMINAL:
        threading.Thread(target=browser.open, args=(address,), daemon=True).start()


def _content(folder: Path) -> dict[str, Any]:
    return run_content(folder) | {"live": "data.json"}


def _html(folder: Path) -> tuple[str, bytes]:
    return "text/html; charset=utf-8", page(_content(folder))


def _json(folder: Path) -> tuple[str, bytes]:
    return "application/json", json.dumps([_content(folder)], allow_nan=False).encode()
