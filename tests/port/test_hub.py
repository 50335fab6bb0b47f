"""Downloads from a hub of our own on this machine; and what is said where there is none."""

import hashlib
import http.server
import sys
import threading

import pytest

from jaxconv import port
from jaxconv._base.errors import ConfigError, DataError

hub = pytest.importorskip("huggingface_hub")

CONTENT = b"weights" * 1000
FILES = {"/someone/net/resolve/main/model.safetensors": CONTENT}


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers that a download asks for."""

    def do_GET(self):
        content = FILES.get(self.path)
        self.server.asked.append((self.command, self.path))
        if content is None:
            missing = "EntryNotFound" if self.path.startswith("/someone/net/resolve/main") else "RepoNotFound"
            missing = "RevisionNotFound" if "/resolve/v9/" in self.path else missing
            self.send_response(404)
            self.send_header("X-Error-Code", missing)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """The address of a hub that lives as long as the test."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    path = port.download("someone/net", folder=tmp_path)
    assert path == tmp_path / "model.safetensors"
    assert path.read_bytes() == CONTENT
    port.download("someone/net", folder=tmp_path)
    assert server.asked.count(("GET", "/someone/net/resolve/main/model.safetensors")) == 1


@pytest.mark.parametrize(
    ("repo", "words", "message"),
    [
        ("someone/nte", {}, "the hub has no readable repository 'someone/nte'\n"
                            "  fix: its name, as on huggingface.co; a private one needs the variable HF_TOKEN"),
        ("someone/net", {"file": "model.bin"}, "someone/net has no file 'model.bin'\n"
                                               "  fix: see https://huggingface.co/someone/net/tree/main"),
        ("someone/net", {"revision": "v9"}, "someone/net has no revision 'v9'\n  fix: revision=None for the newest"),
    ],
)  # fmt: skip
def test_what_the_hub_has_not(server, tmp_path, repo, words, message):
    with pytest.raises(DataError) as caught:
        port.download(repo, **words, folder=tmp_path)
    assert str(caught.value) == message


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"^repo must be 'owner/name'; got 'a/b/c': "):
        port.download("a/b/c", folder=tmp_path)


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library tries again, later and later
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError) as caught:
        port.download("someone/net", folder=tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("model.safetensors of someone/net is not on this machine and could not be downloaded: ")
    assert lines[1:] == [
        "  fix: on a machine that is online, get",
        "    http://127.0.0.1:9/someone/net/resolve/main/model.safetensors",
        f"  and give its path to port.load; or copy that machine's cache to {tmp_path}",
        "  A mirror: HF_ENDPOINT=https://…",
    ]


def test_a_hub_that_answers_a_byte_now_and_then(server, tmp_path, monkeypatch):
    stopped = threading.Event()

    def drip(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Y: ")
        while not stopped.wait(0.05):
            self.wfile.write(b"a")

    monkeypatch.setattr(Hub, "do_HEAD", drip)
    monkeypatch.setattr("jaxconv.port.weights.hub.LIMIT_SECONDS", 0.5)
    with pytest.raises(DataError) as caught:
        port.download("someone/net", folder=tmp_path)
    stopped.set()
    assert str(caught.value).splitlines()[0] == (
        "model.safetensors of someone/net is not on this machine and could not be downloaded: took longer than 0.5 s"
    )


def test_told_to_stay_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="\n  HF_HUB_OFFLINE is set: unset it to ask the network\n"):
        port.download("someone/net", folder=tmp_path)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError) as caught:
        port.download("someone/net")
    assert str(caught.value) == (
        "download needs huggingface_hub, which is not installed\n  fix: pip install 'jaxconv[port]'"
    )
