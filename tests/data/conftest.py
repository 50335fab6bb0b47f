"""Fixtures for data: a server on this machine, and small folders of pictures."""

import functools
import http.server
import threading

import numpy as np
import pytest
from PIL import Image


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    """`serve(folder)`: the address of a server for it."""
    servers = []

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def photographs(tmp_path, rng):
    """`photographs({"train/cat": 3, …})`: a folder of small JPEGs, each of its own size."""

    def make(classes, root=tmp_path / "photographs", suffix="jpg"):
        for name, count in classes.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                height, width = rng.integers(20, 60, 2)
                pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / name / f"{number:03}.{suffix}")
        return root

    return make
