"""The page of a run while it trains: served from the first event to the end, whatever the end is."""

import threading
import urllib.error
import urllib.request
import webbrowser

import pytest
from support.config_text import config_text
from typer.testing import CliRunner

from jaxconv.cli.commands import app
from jaxconv.run import live
from jaxconv.training.progress import Compiled, Notice

CONFIG = config_text(
    optim={"name": "adam", "learning_rate": 0.01},
    train={"epochs": 1, "batch_size": 256, "log_every": 2, "seed": 0},
)


@pytest.fixture
def begun(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(CONFIG)
    return tmp_path / "run"


def closed(address):
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)
    return True


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_opens_the_page_once_and_ends_as_without_it(tmp_path, monkeypatch):
    pages = []

    def show(address):
        pages.append((address, urllib.request.urlopen(address, timeout=5).read().decode()))

    monkeypatch.setattr(live, "open_page", show)
    (tmp_path / "tiny.toml").write_text(CONFIG)
    result = invoke("train", tmp_path / "tiny.toml", "--out", tmp_path / "run", "--open")
    assert (result.exit_code, result.stderr) == (0, "")
    [(address, page)] = pages
    assert "<html" in page
    assert f"{tmp_path / 'run'} at {address}" in result.stdout.splitlines()
    assert (tmp_path / "run" / "result.json").is_file()
    assert closed(address)
    refused = invoke("train", tmp_path / "tiny.toml", "--dry-run", "--open")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "error: --open shows a run while it trains; leave out --dry-run\n",
    )


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_an_interrupted_run_ends_its_server(begun, end):
    addresses, events, before = [], [], threading.active_count()

    def train():
        with live.serving(begun, events.append, addresses.append) as report:
            report(Compiled(1.0))
            report(Compiled(2.0))
            raise end

    with pytest.raises(end):
        train()
    [address] = addresses
    assert events == [Notice(f"{begun} at {address}"), Compiled(1.0), Compiled(2.0)]
    assert closed(address)
    assert threading.active_count() == before


def test_events_before_the_folder_exists_and_runs_without_events(tmp_path):
    events, addresses = [], []
    with live.serving(tmp_path / "none", events.append, addresses.append) as report:
        report(Compiled(1.0))
    with live.serving(tmp_path / "none", events.append, addresses.append):
        pass
    assert (events, addresses) == ([Compiled(1.0)], [])


@pytest.mark.parametrize("error", [OSError("no socket"), webbrowser.Error("no browser")], ids=repr)
def test_what_cannot_be_shown_costs_no_run(begun, error):
    events = []

    def show(address):
        raise error

    with live.serving(begun, events.append, show) as report:
        report(Compiled(1.0))
        report(Compiled(2.0))
    assert events[1:] == [Notice(f"the page of the run cannot be shown: {error}"), Compiled(1.0), Compiled(2.0)]


def test_damaged_records_cost_no_run(begun):
    (begun / "metrics.jsonl").write_text("{}\n{}\n")
    events = []
    with live.serving(begun, events.append, pytest.fail) as report:
        report(Compiled(1.0))
    assert events[0].text.startswith(f"the page of the run cannot be shown: {begun}/metrics.jsonl was altered: line 1")


@pytest.mark.parametrize(
    ("browser", "opened"),
    [
        (webbrowser.GenericBrowser("/usr/bin/w3m"), False),
        (webbrowser.Elinks("elinks"), False),
        (webbrowser.GenericBrowser("/opt/open-in-editor.sh"), True),  # of $BROWSER, as VS Code sets it
        (webbrowser.BackgroundBrowser("xdg-open"), True),
        (webbrowser.Chrome("chromium"), True),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_browser_of_the_terminal_is_left_alone(monkeypatch, browser, opened):
    called, ended = threading.Event(), threading.Event()

    def hang(self, url, new=0, autoraise=True):
        called.set()
        ended.wait(10)

    monkeypatch.setattr(type(browser), "open", hang)
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    live.open_page("http://127.0.0.1:1/")  # returns at once
    assert called.wait(5 if opened else 0.1) == opened
    ended.set()
