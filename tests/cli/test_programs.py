"""The compilation cache of commands: on unless the user says otherwise, bounded, and never in the way."""

import os
import subprocess
import sys

import filelock
import jax
import pytest

from jaxconv.cli import programs

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_remove_custom_partitioning_ptr_from_cache_key",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that the cache is made in; JAX's settings are restored afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_enable_compilation_cache", True)
    yield tmp_path / "jaxconv" / "programs"
    jax.config.update("jax_enable_compilation_cache", False)
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache_in_a_bounded_folder(cache, capfd):
    programs.keep_programs()
    (folder,) = cache.iterdir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_compilation_cache_max_size == 2**30
    assert capfd.readouterr() == ("", "")
    programs.keep_programs()
    assert list(cache.iterdir()) == [folder]  # the same name for the same machine


def test_machines_of_other_instructions_share_nothing(monkeypatch):
    table = "processor\t: {}\nmodel name\t: X\ncpu MHz\t\t: {}\nflags\t\t: fpu {}\n\nprocessor\t: 1\n"
    names = []
    for numbers in ((0, 2000, "avx2"), (0, 3000, "avx2"), (0, 2000, "avx512f")):
        monkeypatch.setattr(programs, "read_text", lambda path, numbers=numbers: table.format(*numbers))
        names.append(programs._machine())
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_COMPILATION_CACHE_DIR", "/mine"), ("JAX_COMPILATION_CACHE_MAX_SIZE", "7")]
)
def test_what_the_user_sets_holds(cache, monkeypatch, name, value):
    monkeypatch.setenv(name, value)  # JAX itself reads it when it is imported
    before = getattr(jax.config, name.lower())
    programs.keep_programs()
    assert getattr(jax.config, name.lower()) == before
    assert cache.exists() == (name != "JAX_COMPILATION_CACHE_DIR")


def test_a_cache_that_the_user_disabled_stays_disabled(cache):
    jax.config.update("jax_enable_compilation_cache", False)
    programs.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_costs_a_line(cache, capfd):
    cache.parent.write_text("a file")
    programs.keep_programs()
    out, err = capfd.readouterr()
    assert out == ""
    folder = cache / programs._machine()
    assert err == (
        f"warning: compiled programs are not kept: cannot write {folder}: Not a directory; "
        "JAX_COMPILATION_CACHE_DIR may name another folder\n"
    )
    assert jax.config.jax_compilation_cache_dir is None


def test_an_entry_that_a_kill_cut_short_is_dropped_unless_another_process_writes(cache):
    programs.keep_programs()
    (folder,) = cache.iterdir()
    for name in ("whole-cache", "whole-atime", "cut-cache"):
        (folder / name).write_bytes(b"12345678")
    with filelock.FileLock(folder / ".lockfile", is_singleton=False):
        programs.keep_programs()
        assert (folder / "cut-cache").exists()
    programs.keep_programs()
    assert sorted(path.name for path in folder.glob("*-*")) == ["whole-atime", "whole-cache"]


PROGRAM = """
import jax, jax.numpy as jnp
from jaxconv.cli.errors import user_errors
from jaxconv.cli.programs import keep_programs
keep_programs()
hits = []
jax.monitoring.register_event_listener(lambda event, **_: event.endswith("cache_hits") and hits.append(event))
with user_errors():
    for power in (2, 3):
        jax.jit(lambda x: jnp.sin(x) ** power)(jnp.ones(3))
print(len(hits))
"""


def start(folder):
    environment = os.environ | {"XDG_CACHE_HOME": str(folder), "JAX_ENABLE_COMPILATION_CACHE": "true"}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return int(found.stdout), found.stderr


@pytest.mark.slow
def test_the_second_start_takes_programs_from_the_cache_also_after_a_kill(tmp_path):
    assert start(tmp_path) == (0, "")
    hits, err = start(tmp_path)
    assert (hits >= 2, err) == (True, "")
    (folder,) = (tmp_path / "jaxconv" / "programs").iterdir()
    entries = list(folder.glob("*-cache"))
    assert len(entries) >= hits
    for path in entries:  # as a kill leaves them
        path.write_bytes(path.read_bytes()[:100])
        path.with_name(path.name.removesuffix("-cache") + "-atime").unlink()
    assert start(tmp_path) == (0, "")
    assert start(tmp_path) == (hits, "")


@pytest.mark.slow
def test_entries_that_cannot_be_read_cost_one_line(tmp_path):
    start(tmp_path)
    (folder,) = (tmp_path / "jaxconv" / "programs").iterdir()
    for path in folder.glob("*-cache"):
        path.write_bytes(b"damaged")
    hits, err = start(tmp_path)
    assert hits == 0
    (line,) = err.splitlines()
    assert line.startswith("warning: Error reading persistent compilation cache entry for ")
