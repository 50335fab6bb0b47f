"""oneDNN's custom call: selection, values, and absence of deadlocks."""

import os
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from support import oracle
from support.process import run

from jaxconv._base.compat import ONEDNN_JAXLIB, jaxlib_version
from jaxconv.engine import Form, bind, native, onednn
from jaxconv.engine.dispatch import choose
from jaxconv.engine.rules import Place

here = pytest.mark.skipif(not onednn.available(), reason="no supported oneDNN in this jaxlib, or on this processor")


def test_versions():
    """A new jaxlib is trusted only if the tests below pass with JAXCONV_ONEDNN=1: then add it to ONEDNN_JAXLIB."""
    known = jaxlib_version().startswith(ONEDNN_JAXLIB)
    assert onednn.available() <= (known or os.environ.get("JAXCONV_ONEDNN") == "1")


@pytest.mark.slow
def test_switched_off():
    out = run("from jaxconv.engine import onednn; print(onednn.available())", JAXCONV_ONEDNN="0")
    assert out.stdout.strip() == "False", out.stderr


@pytest.mark.slow
@pytest.mark.sampled
@here
@pytest.mark.parametrize("onednn", ["1", "0"])
def test_with_a_persistent_cache(onednn, tmp_path):
    """One warning with a fix instead of XLA's MemoryError per program; without the call, programs are cached."""
    code = """
    import pathlib, sys, warnings, jax, jax.numpy as jnp, jaxconv as jc
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in (2, 3):
            conv = jax.jit(lambda x, k: jc.conv(x, k, padding="same").sum())
            print(float(conv(jnp.ones((n, 8, 8, 16)), jnp.ones((1, 2, 16, 16)))))
    print(*(str(warning.message) for warning in caught), sep="\\n")
    print(sum("lambda" in path.name for path in pathlib.Path(sys.argv[1]).iterdir()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        env={**os.environ, "JAXCONV_ONEDNN": onednn},
        capture_output=True,
        text=True,
        timeout=280,
    )
    first, second, *rest = done.stdout.splitlines()
    assert (first, second) == ("61440.0", "92160.0"), done.stderr
    if onednn == "0":
        assert rest == ["", "2"]
    else:
        assert rest == [
            f"programs with oneDNN convolutions are recompiled in each process: JAX's persistent cache in {tmp_path} "
            "cannot store them; set JAXCONV_ONEDNN=0 to use formulations that can be cached",
            "0",
        ]


def test_shifted_runs_only_few_channels_per_group():
    """One multiply-add per tap and channel in one loop: a dense form took minutes to compile."""
    dense = Form("y", (1, 8, 8, 64), (3, 3, 64, 64), (1, 1), ((1, 1), (1, 1)), (1, 1), impl="shifted")
    assert choose(dense, Place()) != "shifted"
    assert choose(dense.open("k", k=(3, 3, 32, 64), groups=2), Place()) != "shifted"
    assert choose(dense.open("y", k=(3, 3, 1, 64), groups=64), Place()) == "shifted"


@here
def test_chosen_only_on_one_cpu():
    form = Form("y", (8, 14, 14, 16), (3, 3, 16, 16), (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert choose(form, Place()) == "onednn"
    assert choose(form, Place(one_device=False)) == "canonical"
    assert choose(form, Place("gpu")) == "lax"
    assert choose(form.open("k", dtype="float64"), Place()) == "dots"


@here
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_f32(dtype, rng, assert_close):
    """A sum of 4,096 ones is 4,096: bfloat16 would stop at 256, float16 at 2,048."""
    form = Form("k", (4, 32, 32, 1), (1, 2, 1, 1), (1, 1), ((0, 0), (0, 1)), (1, 1), dtype=dtype, impl="onednn")
    ones = [np.ones(getattr(form, s), dtype) for s in form.operands]
    got = bind(*map(jax.numpy.asarray, ones), form)
    assert got.dtype == dtype
    assert float(got[0, 0, 0, 0]) == 4096


@here
@pytest.mark.parametrize("impl", ["onednn", "images"])
def test_forms_it_cannot_run_fall_back_to_auto(impl):
    """Even if it is named, no form without a direct kernel reaches the call: f64 stays f64, and nothing hangs."""
    depthwise = Form("k", (4, 9, 3), (3, 1, 3), (1,), ((1, 1),), (1,), groups=3, impl=impl)
    doubled = Form("k", (4, 9, 9, 3), (3, 3, 1, 6), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=3, impl="images")
    for form in (depthwise, depthwise.open("y"), depthwise.open("y", dtype="float64"), doubled):
        assert choose(form, Place()) in ("shifted", "dots", "onednn", "native")
        assert choose(form, Place(one_device=False)) in ("shifted", "dots")
    assert choose(depthwise.open("y"), Place()) == ("native" if native.available() else "shifted")


@pytest.mark.sampled
@here
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 6])
def test_half_precision_kernel_gradients_by_blocks_of_images(groups, stride, rng, assert_close):
    """Summed in f32, returned in the kernel's dtype."""
    x = rng.normal(size=(16, 9, 8, 6)).astype(jax.numpy.bfloat16)
    form = Form("k", x.shape, (3, 3, 6 // groups, 6), (stride,) * 2, ((1, 1), (1, 1)), (1, 1), groups, dtype="bfloat16")
    y = rng.normal(size=form.y).astype(jax.numpy.bfloat16)
    got = bind(jax.numpy.asarray(x), jax.numpy.asarray(y), form.open("k", impl="images"))
    words = {word: getattr(form, word) for word in ("stride", "padding", "dilation", "groups")}
    assert got.dtype == "bfloat16"
    assert_close(got, oracle.conv_grads(x, np.zeros(form.k), y, **words)[1])


@here
@pytest.mark.slow
def test_no_form_that_fits_falls_back_on_gemm():
    """oneDNN's GEMM convolution deadlocks in XLA's thread pool; its log has the implementation of 300 sampled forms."""
    code = """
    import functools, jax, numpy as np
    from jaxconv.engine import Form, bind, native, onednn
    rng, done = np.random.default_rng(0), 0
    while done < 300:
        rank, groups = int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 8, 17]))
        ints = lambda low, high: tuple(map(int, rng.integers(low, high, rank)))
        k, d = ints(1, 6), ints(1, 3)
        reach = [e * (t - 1) for t, e in zip(k, d)]
        pads = tuple((int(rng.integers(0, r + 2)), int(rng.integers(0, r + 2))) for r in reach)
        c, o = groups * int(rng.choice([1, 1, 2, 9])), groups * int(rng.choice([1, 1, 2, 9]))
        n = ints(1, {1: 40, 2: 16, 3: 7}[rank])
        slot = "xky"[rng.integers(3)]
        form = Form(slot, (int(rng.integers(1, 5)), *n, c), (*k, c // groups, o), ints(1, 4), pads, d, groups)
        if min(form.y) < 1:
            continue
        impl = "images" if slot == "k" and form.depthwise and o == groups and rank == 2 and max(d) == 1 else "onednn"
        if impl == "onednn" and not onednn.fits(form):
            continue
        a, b = (np.zeros(getattr(form, s), "f") for s in form.operands)
        print("@", form, flush=True)
        options = {"xla_backend_optimization_level": 0}
        f = functools.partial(bind, form=form.open(slot, impl=impl))
        jax.block_until_ready(jax.jit(f, compiler_options=options)(a, b))
        done += 1
    print("done")
    """
    out = run(code, ONEDNN_VERBOSE="1").stdout
    assert out.strip().endswith("done"), out[-2000:]
    assert "exec,cpu,convolution" in out
    form = None
    for line in out.splitlines():
        form = line if line.startswith("@") else form
        assert "gemm" not in line or "exec,cpu,convolution" not in line, (form, line)


@here
@pytest.mark.slow
def test_concurrent_calls_do_not_deadlock():
    """Independent convolutions in a loop body, run 1,000 times; a deadlock would exceed the time limit."""
    code = """
    import jax, numpy as np, jaxconv as jc
    cases = [
        ((3, 6, 5, 4), (3, 3, 2, 6), dict(padding="same", stride=2, groups=2)),
        ((2, 7, 6, 2), (3, 3, 2, 3), dict(padding=((4, 0), (0, 5)))),
        ((2, 8, 4), (3, 1, 4), dict(padding="causal", groups=4, dilation=2)),
        ((4, 9, 9, 16), (3, 3, 1, 16), dict(padding="same", groups=16)),
        ((4, 9, 9, 16), (3, 3, 1, 16), dict(padding="same", groups=16, stride=2)),
        ((4, 12, 12, 32), (3, 3, 32, 32), dict(padding="same")),
    ]
    rng = np.random.default_rng(0)
    pairs = [tuple(rng.normal(size=(3, *s)).astype("f") for s in case[:2]) for case in cases]
    def f(x, k, words):
        y, back = jax.vjp(lambda x, k: jc.conv(x, k, **words), x, k)
        return (y, *back(y))
    def body(_, parts):
        return 0, [f(x, k, case[2]) for (x, k), case in zip(parts, cases) for _ in range(2)]
    program = jax.jit(lambda pairs: jax.lax.scan(body, 0, pairs)[1])
    for _ in range(1000):
        jax.block_until_ready(program(pairs))
    print("done")
    """
    assert run(code).stdout.strip() == "done"


@here
@pytest.mark.slow
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE", "DEFAULT"])
def test_one_channel_and_one_result_on_every_instruction_set(isa):
    """Cases near those that oneDNN 3.7.3 gets wrong on AVX-512: few channels, few outputs on the last axis, strides."""
    code = """
    import functools, itertools, jax, numpy as np
    from jaxconv.doctor import reference
    from jaxconv.engine import Form, bind
    rng, forms = np.random.default_rng(0), []
    for c, out, s, k in itertools.product((1, 2), (1, 2), ((1, 2), (1, 3), (2, 2)), ((3, 2), (2, 1), (2, 3), (1, 2))):
        n = tuple(int((o - 1) * step + taps + rng.integers(0, 2)) for o, step, taps in zip((4, out), s, k))
        batch, maps = int(rng.choice([1, 2])), int(rng.choice([3, 8, 16]))
        dilation = (1, int(rng.integers(1, 3)) if k[1] == 1 else 1)
        pads = ((0, int(rng.integers(0, 2))), (0, 0))
        forms.append(Form("y", (batch, *n, c), (*k, c, maps), s, pads, dilation))
    def slots(x, k, g, form):
        y, back = jax.vjp(functools.partial(bind, form=form), x, k)
        return dict(zip("yxk", (y, *back(g))))
    for first in range(0, len(forms), 12):
        some = forms[first : first + 12]
        arrays = [[rng.normal(size=getattr(form, s)).astype("f") for s in "xky"] for form in some]
        program = jax.jit(lambda arrays: [slots(*a, form) for a, form in zip(arrays, some)])
        for form, a, got in zip(some, arrays, program(arrays)):
            for slot, want in reference.conv(*a, form).items():
                allowed = 2e-5 * np.abs(want).max()
                np.testing.assert_allclose(got[slot], want, rtol=0, atol=allowed, err_msg=f"{slot} {form}")
    print(len(forms), "right")
    """
    environment = {} if isa == "DEFAULT" else {"ONEDNN_MAX_CPU_ISA": isa}
    done = run(code, **environment)
    assert done.stdout.strip() == "48 right", done.stderr[-3000:]
