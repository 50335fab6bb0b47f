"""The native kernels: built, right for every instruction set, safe among threads, and left out where they must be."""

import functools
import itertools
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.native import check, expected, given, here, program, slots, transformed
from support.process import run

import jaxconv as jc
from jaxconv.doctor.report import _about
from jaxconv.engine import Form, native
from jaxconv.engine.dispatch import choose
from jaxconv.engine.native import build, library
from jaxconv.engine.rules import Place

compiler = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")


FORMS = {
    "odd channels": Form("y", (2, 7, 9, 5), (3, 3, 5, 37), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "stride 2, dilation 3": Form("y", (3, 11, 8, 17), (3, 2, 17, 18), (2, 1), ((2, 0), (1, 3)), (1, 3)),
    "stride above the kernel": Form("y", (2, 9, 9, 4), (2, 1, 4, 6), (3, 3), ((0, 0), (0, 0)), (1, 1)),
    "groups": Form("y", (2, 6, 6, 12), (3, 3, 4, 9), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=3),
    "one axis": Form("y", (5, 17, 33), (5, 33, 16), (2,), ((4, 1),), (2,)),
    "three axes": Form("y", (1, 4, 5, 6, 3), (2, 3, 2, 3, 8), (1, 2, 1), ((0, 1), (1, 1), (1, 0)), (1, 1, 2)),
    "few channels": Form("y", (2, 9, 30, 3), (3, 7, 3, 20), (2, 2), ((1, 1), (3, 3)), (1, 1)),
    "few maps": Form("y", (3, 8, 8, 20), (3, 3, 20, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "many small images": Form("y", (33, 4, 4, 18), (3, 3, 18, 33), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "a long line": Form("y", (1, 700, 20), (9, 20, 7), (1,), ((4, 4),), (1,)),
    "31 taps": Form("y", (1, 1, 40, 2), (1, 31, 2, 3), (1, 1), ((0, 0), (15, 15)), (1, 1)),
    "depthwise": Form("y", (2, 9, 7, 19), (3, 5, 1, 19), (1, 1), ((1, 1), (2, 2)), (1, 1), groups=19),
    "depthwise, stride 2": Form("y", (3, 8, 8, 40), (3, 3, 1, 40), (2, 2), ((1, 1), (0, 1)), (1, 1), groups=40),
    "depthwise, 3 maps a channel": Form("y", (2, 6, 6, 7), (3, 3, 1, 21), (1, 2), ((1, 1), (1, 1)), (2, 1), groups=7),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", FORMS)
def test_every_slot(name, isa, rng, assert_close):
    check(FORMS[name], given(FORMS[name], rng), assert_close)


@here
@pytest.mark.slow
def test_odd_channels_and_sizes(rng, assert_close):
    """Channels from 1 to 40 and sizes from 1 to 17, dense and depthwise, on every instruction set."""
    for channels, n in zip(range(1, 41), itertools.cycle(range(1, 18)), strict=False):
        for groups in {1, channels}:
            k = (3, 2, channels // groups, channels if groups > 1 else 41 - channels)
            form = Form("y", (2, n, n + 1, channels), k, (1, 2), ((1, 1), (1, 0)), (1, 1), groups=groups)
            arrays = given(form, rng)
            for _ in filter(native.select_isa, native.ISAS):
                check(form, arrays, assert_close)
    native.select_isa(None)
    jax.clear_caches()
    program.cache_clear()


@here
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_batches(batch, rng, assert_close):
    form = Form("y", (batch, 5, 5, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1)), (1, 1))
    arrays = given(form, rng)
    if batch:
        check(form, arrays, assert_close)
    else:
        got = slots(form, arrays)
        assert {slot: v.shape for slot, v in got.items()} == {slot: getattr(form, slot) for slot in "xky"}
        assert not np.any(got["k"])


@pytest.mark.sampled
@pytest.mark.parametrize("groups", [1, 20])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_inf_and_nan_reach_the_results_of_their_windows_and_no_others(value, groups, isa, rng):
    form = Form("y", (2, 6, 7, 20), (3, 3, 20 // groups, 20), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=groups)
    arrays = given(form, rng)
    clean = slots(form, arrays)
    for slot, others in (("x", "yk"), ("y", "xk")):
        one = arrays[slot].copy()
        one[1, 2, 3, 11] = value
        got = slots(form, arrays | {slot: one})
        for other in others:
            finite = np.isfinite(got[other])
            np.testing.assert_array_equal(np.where(finite, got[other], 0), np.where(finite, clean[other], 0))
        spatial = got[others[0]]
        bad = {tuple(map(int, at[:3])) for at in np.argwhere(~np.isfinite(spatial))}
        assert bad == {(1, i, j) for i in (1, 2, 3) for j in (2, 3, 4)}
        assert not np.isfinite(got["k"][..., 11]).all() or slot == "x"


def test_denormals_are_kept(isa):
    form = Form("y", (1, 3, 3, 16), (1, 1, 16, 16), (1, 1), ((0, 0), (0, 0)), (1, 1))
    eye = np.eye(16, dtype=np.float32)[None, None]
    x = np.full(form.x, 3e-40, np.float32)
    y = slots(form, {"x": x, "k": eye, "y": np.zeros(form.y, np.float32)})["y"]
    assert set(np.unique(y)) <= {np.float32(0), np.float32(3e-40)}  # XLA's threads may flush them to zero


@here
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_computed_in_f32(dtype, rng):
    form = Form("y", (2, 6, 6, 8), (3, 3, 8, 8), (1, 1), ((1, 1), (1, 1)), (1, 1), dtype=dtype)
    arrays = {slot: np.asarray(jnp.asarray(v, dtype), np.float32) for slot, v in given(form, rng).items()}
    for slot, got in slots(form, arrays, dtype).items():
        assert got.dtype == dtype
        want = expected(form, arrays)[slot]
        error = np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()
        assert error < float(jnp.finfo(dtype).eps)


def test_the_same_bits_each_time(isa, rng):
    """A sum over the batch is cut by the number of threads, not by which of them came first."""
    form = Form("y", (16, 12, 12, 8), (3, 3, 8, 8), (1, 1), ((1, 1), (1, 1)), (1, 1))
    wide = Form("y", (16, 12, 12, 24), (3, 3, 1, 24), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=24)
    for one in (form, wide):
        arrays = given(one, rng)
        first = slots(one, arrays)
        for _ in range(5):
            for slot, again in slots(one, arrays).items():
                np.testing.assert_array_equal(again, first[slot])


@here
def test_every_transformation(rng, assert_close):
    """grad of grad, jvp, vmap, scan and remat are those of the definition."""
    x, k = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 5, 5, 3), (3, 3, 3, 4)))

    loss = lambda y: jnp.sum(jnp.sin(y))  # noqa: E731
    got = jax.jit(functools.partial(transformed, "native", loss))(x, k)
    want = jax.jit(functools.partial(transformed, "einsum", loss))(x, k)
    jax.tree.map(assert_close, got, want)


@here
def test_what_is_exported_holds_no_call_of_ours():
    conv = jax.jit(functools.partial(jc.conv, padding=1, impl="native"))
    like = jax.ShapeDtypeStruct((1, 5, 5, 3), jnp.float32), jax.ShapeDtypeStruct((3, 3, 3, 4), jnp.float32)
    assert "jaxconv_dense_y" in conv.lower(*like).as_text()
    assert "custom_call" not in jax.export.export(conv)(*like).mlir_module()


@here
def test_where_it_is_chosen():
    form = Form("y", (1, 5, 5, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), impl="native")
    assert choose(form, Place()) == "native"
    chosen = {
        "few channels": {},
        "few maps": {"x": (1, 5, 5, 32), "k": (3, 3, 32, 4), "slot": "y"},
        "small maps": {"x": (1, 4, 4, 32), "k": (5, 5, 32, 32), "padding": ((2, 2), (2, 2))},
        "one axis": {"x": (1, 40, 32), "k": (5, 32, 32), "stride": (1,), "padding": ((2, 2),), "dilation": (1,)},
    }
    for name, changes in chosen.items():
        for slot in (changes["slot"],) if "slot" in changes else "xky":
            changed = form.open(slot, impl="auto", **{k: v for k, v in changes.items() if k != "slot"})
            assert choose(changed, Place()) == "native", name
    strided = {"x": (1, 9, 9, 32), "k": (5, 5, 32, 32), "stride": (2, 2), "impl": "auto"}
    assert choose(form.open("x", **strided), Place()) == "native"
    assert (
        choose(form.open("y", x=(1, 9, 9, 32), k=(1, 1, 32, 32), padding=((0, 0), (0, 0)), impl="auto"), Place())
        == "dots"
    )
    assert choose(form, Place("cpu", one_device=False)) != "native"
    assert choose(form, Place("gpu")) == "lax"
    assert choose(form.open("y", dtype="float64"), Place()) != "native"


@here
def test_shapes_that_disagree_are_refused():
    form = Form("y", (1, 5, 5, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x, k = jnp.ones((1, 5, 5, 2)), jnp.ones(form.k)
    with pytest.raises(jax.errors.JaxRuntimeError, match="the shapes of a native convolution do not agree"):
        jax.jit(lambda x, k: native.conv_native(x, k, form))(x, k).block_until_ready()


@here
@pytest.mark.slow
def test_many_calls_at_once():
    """8,400 calls of all kernels from four Python threads on three devices, side by side in each program."""
    done = run("""
    import concurrent.futures, faulthandler, jax, jax.numpy as jnp, numpy as np, jaxconv as jc
    faulthandler.dump_traceback_later(240, exit=True)
    jax.config.update("jax_num_cpu_devices", 3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4, 8, 8, 8)).astype("f")
    k = [rng.normal(size=(3, 3, c, 16)).astype("f") for c in (8, 1) * 4]

    @jax.jit
    def program(x, k):
        def loss(x, k):
            conv = lambda x, k: jc.conv(x, k, padding=1, groups=8 // k.shape[2], impl="native")
            return sum(jnp.sum(jnp.sin(conv(*pair))) for pair in zip(x, k, strict=True))
        def body(total, _):
            return jax.tree.map(jnp.add, total, jax.grad(loss, (0, 1))(x, k)), None
        return jax.lax.scan(body, jax.tree.map(jnp.zeros_like, (x, k)), None, length=25)[0]

    assert program.lower(x, k).as_text().count("@jaxconv_") == 24, "calls in each of 25 iterations"

    def call(i):
        given = jax.device_put((x, k), jax.devices()[i % 3])
        return jax.tree.map(np.asarray, program(*given))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, range(14)))
    for result in results:
        jax.tree.map(np.testing.assert_array_equal, result, results[0])
    print("done")
    """)
    assert done.stdout.strip() == "done", done.stderr


# ---------------------------------------------------------------- left out


def test_switched_off():
    code = """
    from jaxconv.engine import Form, native
    from jaxconv.engine.dispatch import choose
    from jaxconv.engine.rules import Place
    form = Form("y", (1, 5, 5, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), impl="native")
    print(native.reason(), choose(form, Place()) == "native")
    """
    out = run(code, JAXCONV_NATIVE="0")
    assert out.stdout.strip() == "JAXCONV_NATIVE=0 False", out.stderr


@here
def test_a_lower_instruction_set_by_the_variable():
    out = run("from jaxconv.engine import native; print(native.isa(), native.reason())", JAXCONV_NATIVE_ISA="baseline")
    assert out.stdout.strip() == "baseline None", out.stderr


@here
def test_an_unknown_instruction_set(monkeypatch):
    monkeypatch.setenv("JAXCONV_NATIVE_ISA", "sse9")
    with pytest.raises(jc.ConfigError) as caught:
        library.reason.__wrapped__()
    assert str(caught.value) == (
        "JAXCONV_NATIVE_ISA must be one of x86-64-v4, x86-64-v3, baseline, and available on this processor; got 'sse9'"
    )


@here
@pytest.mark.parametrize("version", [None, 0, 1003])
def test_headers_newer_than_the_jaxlib_that_runs(version, monkeypatch):
    """XLA would refuse the handlers and with them its whole CPU backend, so they are not registered."""
    monkeypatch.setattr(library, "ffi_version", lambda headers: version)
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *args, **kwargs: pytest.fail("registered"))
    monkeypatch.delenv("JAXCONV_NATIVE", raising=False)
    assert library.reason.__wrapped__() == (
        "compiled with the headers of another jaxlib; run python -m jaxconv.engine.native"
    )


@here
def test_kernels_of_other_sources_are_not_used(monkeypatch):
    """An updated checkout, in which nobody has compiled."""
    monkeypatch.setattr(library, "digest", lambda: "other")
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *args, **kwargs: pytest.fail("registered"))
    monkeypatch.delenv("JAXCONV_NATIVE", raising=False)
    assert library.reason.__wrapped__() == "compiled from other sources; run python -m jaxconv.engine.native"


def test_no_library_and_a_damaged_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXCONV_NATIVE", raising=False)
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "kernels.so")
    monkeypatch.setattr(library, "_library", library._library.__wrapped__)
    assert library.reason.__wrapped__() == "not compiled; run python -m jaxconv.engine.native"
    (tmp_path / "kernels.so").write_bytes(b"no ELF")
    assert library.reason.__wrapped__().endswith("; run python -m jaxconv.engine.native")


def test_doctor_names_the_instruction_set_or_the_reason():
    assert _about()["native"] == (native.isa() if native.available() else f"not available: {native.reason()}")


# ---------------------------------------------------------------- the build


@here
@pytest.mark.slow
def test_programs_are_kept_in_a_persistent_cache(tmp_path):
    """A second process takes them from there, with the same bits."""
    code = f"""
    import jax, jax.numpy as jnp, numpy as np, jaxconv as jc
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", {str(tmp_path)!r})
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: event.endswith("cache_hits") and hits.append(event))
    random = np.random.default_rng(0)
    x, k = (jnp.asarray(random.normal(size=n), "f") for n in ((4, 9, 9, 16), (5, 5, 16, 16)))
    found = jax.jit(jax.value_and_grad(lambda x, k: (jc.conv(x, k, padding="same") ** 2).sum(), (0, 1)))(x, k)
    print(len(hits) > 0, *(np.asarray(part).tobytes().hex()[-64:] for part in jax.tree.leaves(found)))
    """
    first, second = run(code).stdout.split(), run(code).stdout.split()
    assert (first[0], second[0]) == ("False", "True")
    assert first[1:] == second[1:]
    assert len(first) == 4


@here
def test_what_is_compiled_is_not_compiled_again(monkeypatch, tmp_path):
    made = Path(jax.ffi.include_dir()) if build.is_current(headers=Path(jax.ffi.include_dir())) else build.HEADERS
    assert build.is_current(headers=made)
    assert not build.is_current(headers=tmp_path)
    assert not build.is_current(tmp_path / "kernels.so", made)
    (tmp_path / "kernels.so").write_bytes(b"no ELF")
    assert not build.is_current(tmp_path / "kernels.so", made)
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-O2"))
    assert not build.is_current(headers=made)


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="built for Linux and macOS")
def test_a_build_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match=r"a C\+\+ compiler must be on the PATH, or named by CXX"):
        build.build(tmp_path / "kernels.so")


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="built for Linux and macOS")
def test_a_compiler_that_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", shutil.which("false"))
    with pytest.raises(build.BuildError, match="failed"):
        build.build(tmp_path / "kernels.so")
    assert list(tmp_path.iterdir()) == []


@compiler
@pytest.mark.slow
def test_the_command_builds(tmp_path):
    made = build.build(tmp_path / "kernels.so")
    assert made.read_bytes()[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe")
    assert [path.name for path in tmp_path.iterdir()] == ["kernels.so"]


SANITIZED = ("-std=c++17", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover")


def drive(compiler, flags, sources, folder, cases, emulator=()):
    """The outcome of so many random windows in the kernels' own driver, compiled for it."""
    driver = str(folder / "driver")
    command = [*compiler, *flags, "-DTABLE=table", "kernels.cc", "driver.cc", "-o", driver, "-lpthread"]
    subprocess.run(command, cwd=sources, check=True)
    return subprocess.run([*emulator, driver, str(cases)], capture_output=True, text=True, timeout=280)


@compiler
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the sanitizers of g++ on Linux")
@pytest.mark.parametrize("name", build.KERNEL_FLAGS)
def test_under_sanitizers(name, tmp_path):
    """Random windows by the kernels' own driver: no lane beyond an array, no undefined arithmetic, the right sums."""
    wanted = {"x86_64_v3": "avx2", "x86_64_v4": "avx512f"}.get(name, "")
    if wanted and (platform.machine() != "x86_64" or f" {wanted}" not in Path("/proc/cpuinfo").read_text()):
        pytest.skip(f"this processor has no {wanted}")
    done = drive(build.compiler(), (*SANITIZED, *build.KERNEL_FLAGS[name]), build.SOURCES, tmp_path, 200)
    assert done.stdout == "200 cases right\n", done.stdout + done.stderr


@compiler
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the sanitizers of g++ on Linux")
@pytest.mark.parametrize("access", ["return load(p)", "return store(p, v)"])
def test_the_sanitizers_find_one_lane_too_many(access, tmp_path):
    """With a load or store of whole vectors where the last lane is missing."""
    sources = shutil.copytree(build.SOURCES, tmp_path / "src")
    shared = (sources / "shared.h").read_text()
    right = f"if (lanes >= VL) {access};"
    assert right in shared
    (sources / "shared.h").write_text(shared.replace(right, f"if (lanes >= VL - 1) {access};"))
    done = drive(build.compiler(), (*SANITIZED, *build.KERNEL_FLAGS["baseline"]), sources, tmp_path, 200)
    assert done.returncode
    assert "ERROR: AddressSanitizer: " in done.stderr  # "unknown-crash" where a vector ends three granules on


ARM = ["aarch64-linux-gnu-g++"]  # apt install g++-aarch64-linux-gnu qemu-user


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(ARM[0]) or not shutil.which("qemu-aarch64"), reason="no compiler or emulator")
def test_on_aarch64(tmp_path):
    """The kernels for NEON, compiled as they are released, in an emulator; the handlers are only compiled."""
    handlers = [*ARM, *build.FLAGS, "-fsyntax-only", "-w", "-isystem", str(build.HEADERS), '-DSOURCES=""', "ffi.cc"]
    subprocess.run(handlers, cwd=build.SOURCES, check=True)
    flags = (*build.FLAGS, *build.KERNEL_FLAGS["baseline"], "-static")
    done = drive(ARM, flags, build.SOURCES, tmp_path, 200, ["qemu-aarch64"])
    assert done.stdout == "200 cases right\n", done.stdout + done.stderr
