"""For every test: which are quick, random numbers, keys, 64-bit mode, a fast jit, comparison with the oracle."""

import atexit
import collections
import functools
import gc
import itertools
import os
import random
import zlib

import jax
import numpy as np
import pytest
from support.browser import chromium
from support.quick import QUICK
from support.update_messages import Updater

pytest.register_assert_rewrite("messages.calls")


def pytest_addoption(parser):
    parser.addoption("--update-messages", action="store_true", help="rewrite the expected texts of failing assertions")
    parser.addoption("--sample", type=int, default=0, help="which 1/32 of `sampled` cases is quick")


def pytest_configure(config):
    """Tests ask which numbers come out: two fifths of their time would be XLA's, making them come out fast. Where
    XLA_FLAGS names a level itself, that one holds. Programs of earlier tests are not taken from the user's cache."""
    given = os.environ.get("XLA_FLAGS", "")
    if "--xla_backend_optimization_level" not in given:
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        flags += " --xla_cpu_parallel_codegen_split_count=1"
        if jax.__version_info__ < (0, 11):  # unknown flags end the process
            flags += " --xla_cpu_use_fusion_emitters=false"  # the older code generator: half the compile time
        os.environ["XLA_FLAGS"] = f"{given} {flags}".strip()
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # of commands in other processes
    jax.config.update("jax_enable_compilation_cache", False)
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)  # before JAX destroys thousands of programs one by one, in 8 s
    if config.getoption("update_messages"):
        config.pluginmanager.register(Updater(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Doctests are slow; of a test marked `sampled` 1/32 of the cases is quick, and the others are slow."""
    cases = collections.defaultdict(list)
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker(pytest.mark.slow)
        elif item.get_closest_marker("sampled") and hasattr(item, "callspec") and not item.get_closest_marker("slow"):
            cases[item.nodeid.split("[")[0]].append(item)
    for group in cases.values():
        quick = random.Random(config.getoption("sample")).sample(group, -(-len(group) // 32))
        for item in set(group).difference(quick):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def _short_collections():
    """What earlier modules left, mostly programs in JAX's caches, is not walked through by garbage collections: after
    thousands of tests each would take seconds."""
    yield
    gc.collect()
    gc.freeze()


TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "bfloat16": 2e-2}


@pytest.fixture
def rng(request):
    """A NumPy generator seeded by the test's own name, so that order and selection change nothing."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def getkey():
    """A fresh key from each call: `getkey()`."""
    count = itertools.count()
    return lambda: jax.random.fold_in(jax.random.key(0), next(count))


@pytest.fixture
def x64():
    """64-bit types for the whole test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def no_pictures():
    """Runs of this process draw nothing, which would be a third of the time of a short one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jaxconv.run.artifacts._write", lambda *arguments: {})
        yield


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; where there is none, the test is skipped."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def quick_jit():
    """`quick_jit(function)`: compiled with little optimization, in a fraction of the time."""
    return functools.partial(jax.jit, compiler_options=QUICK | {"xla_llvm_disable_expensive_passes": True})


@pytest.fixture(scope="session")
def assert_close():
    """`assert_close(got, want)`: equal shapes, and errors within the dtype's share of the largest |want|."""
    return _assert_close


def _assert_close(got, want, what="result", tolerance=None):
    name, got, want = str(got.dtype), np.asarray(got).astype(np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, oracle {want.shape}"
    if want.size == 0:
        return
    special = ~np.isfinite(want)
    assert np.array_equal(got[special], want[special], equal_nan=True), f"{what}: other infinities or NaNs"
    assert np.isfinite(got[~special]).all(), f"{what}: not finite where the oracle is"
    got, want = np.where(special, 0, got), np.where(special, 0, want)
    allowed = (TOLERANCE.get(name, 0.0) if tolerance is None else tolerance) * np.abs(want).max()
    error = np.abs(got - want)
    at = tuple(map(int, np.unravel_index(error.argmax(), error.shape)))
    assert error[at] <= allowed, (
        f"{what} ({name}): {got[at]:.9g} at {at}, oracle {want[at]:.9g}; error {error[at]:.3g}, allowed {allowed:.3g}"
    )
