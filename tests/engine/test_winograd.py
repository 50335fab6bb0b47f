"""Winograd's kernels: right for every instruction set, as exact as they must be, and left out where asked."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.native import expected, given, here, transformed
from support.process import run

import jaxconv as jc
from jaxconv.engine import Form, bind, native
from jaxconv.engine.dispatch import choose
from jaxconv.engine.native import formulation
from jaxconv.engine.rules import Place

KINDS = ("winograd4", "winograd2")


def form_of(n, size, c, o, padding=((1, 1), (1, 1)), groups=1):
    return Form("y", (n, *size, c * groups), (3, 3, c, o * groups), (1, 1), padding, (1, 1), groups=groups)


@functools.cache
def program(form, kinds):
    """All three slots by each kind of kernel, compiled once: the instruction set is looked up as it runs."""

    def all_of(x, k, y):
        of, opened = {"x": x, "k": k, "y": y}, [form.open(slot) for slot in "xky"]
        return {
            (kind, one.slot): formulation._call({slot: of[slot] for slot in one.operands}, one, kind)
            for kind in kinds
            for one in opened
        }

    return jax.jit(all_of)


def computed(form, arrays, kinds=KINDS):
    return jax.block_until_ready(program(form, kinds)(*(jnp.asarray(arrays[slot]) for slot in "xky")))


def check(form, arrays, assert_close):
    want = expected(form, arrays)
    for (kind, slot), got in computed(form, arrays).items():
        assert_close(got, want[slot], f"{slot} of {form} by {kind}")


FORMS = {
    "one tile": form_of(1, (4, 4), 16, 32),
    "odd everything": form_of(3, (7, 9), 5, 37),
    "asymmetric padding": form_of(2, (6, 11), 17, 18, ((2, 0), (0, 3))),
    "padding beyond the kernel": form_of(1, (3, 5), 19, 6, ((4, 3), (3, 5))),
    "valid": form_of(2, (10, 3), 33, 12, ((0, 0), (0, 0))),
    "groups": form_of(2, (6, 5), 20, 33, groups=3),
    "many channels": form_of(1, (5, 5), 150, 140),
    "many tiles": form_of(5, (17, 19), 9, 70),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", FORMS)
def test_every_slot(name, isa, rng, assert_close):
    check(FORMS[name], given(FORMS[name], rng), assert_close)


@here
@pytest.mark.slow
def test_odd_channels_sizes_and_batches(rng, assert_close):
    """Channels from 1 to 40, sizes from 1 to 17, batches from 1 to 5, on every instruction set."""
    sizes, pads = itertools.cycle(range(1, 18)), itertools.cycle([((1, 1), (1, 1)), ((2, 1), (0, 2)), ((2, 2), (3, 0))])
    for channels, n, padding in zip(range(1, 41), sizes, pads, strict=False):
        form = form_of(1 + channels % 5, (n, 1 + (7 * n) % 17), channels, 41 - channels, padding)
        if 0 in form.y or min(form.y) < 1:
            continue
        arrays = given(form, rng)
        for _ in filter(native.select_isa, native.ISAS):
            check(form, arrays, assert_close)
    native.select_isa(None)
    program.cache_clear()


@here
def test_an_empty_batch():
    form = form_of(0, (8, 8), 32, 32).open("y", impl="winograd")
    for slot in "xky":
        one = form.open(slot)
        got = native.conv_winograd(*(jnp.zeros(getattr(form, of)) for of in one.operands), one)
        assert got.shape == getattr(form, slot)
        assert not np.any(got)


# ---------------------------------------------------------------- rounding


def draws(rng, kind, shape):
    if kind == "N(0, 1)":
        return rng.normal(size=shape)
    if kind == "ReLU":
        return np.maximum(rng.normal(size=shape), 0)
    return rng.uniform(0, 255, size=shape)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["N(0, 1)", "ReLU", "0 to 255"])
@pytest.mark.parametrize("channels", [16, 32, 64])
def test_no_error_exceeds_three_times_the_direct_kernels(channels, kind, isa, rng):
    """The tiles that the formulation chooses; F(2×2) is about as exact as the direct kernel."""
    form = form_of(4, (16, 16), channels, channels)
    arrays = given(form, rng) | {"x": draws(rng, kind, form.x).astype(np.float32)}
    got, want = computed(form, arrays, (*KINDS, "dense")), expected(form, arrays)
    worst = {key: np.abs(np.asarray(value, np.float64) - want[key[1]]).max() for key, value in got.items()}
    for slot in "xky":
        chosen = f"winograd{formulation.tile(form.open(slot))}"
        assert worst[chosen, slot] <= 3 * worst["dense", slot], slot
        assert worst["winograd2", slot] <= 1.5 * worst["dense", slot], slot


@pytest.mark.sampled
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_inf_and_nan_reach_the_tiles_of_their_windows_and_no_others(kind, value, isa, rng):
    form, side = form_of(2, (11, 13), 20, 20), int(kind[-1])
    arrays = given(form, rng)
    clean = computed(form, arrays)
    for slot, other in (("x", "y"), ("y", "x")):
        one = arrays[slot].copy()
        one[1, 4, 7, 11] = value
        got = computed(form, arrays | {slot: one})
        direct = np.zeros(form.y[:3], bool)
        direct[1, 3:6, 6:9] = True
        tiles = {(n, i // side, j // side) for n, i, j in np.argwhere(direct)}
        allowed = np.array([(n, i // side, j // side) in tiles for n, i, j in np.ndindex(*direct.shape)])
        bad = ~np.isfinite(got[kind, other]).all(-1)
        assert bad[direct].all()
        assert not bad[~allowed.reshape(direct.shape)].any()
        clear = ~bad
        np.testing.assert_array_equal(np.asarray(got[kind, other])[clear], np.asarray(clean[kind, other])[clear])
        taps = np.moveaxis(np.isfinite(got[kind, "k"]), -2 if slot == "x" else -1, 0)
        assert not taps[11].any()
        assert taps[np.arange(20) != 11].all()


def test_the_same_bits_each_time(isa, rng):
    for form in (form_of(16, (12, 12), 24, 40), form_of(2, (5, 6), 70, 130)):
        arrays = given(form, rng)
        first = computed(form, arrays)
        for _ in range(5):
            for key, again in computed(form, arrays).items():
                np.testing.assert_array_equal(again, first[key])


# ---------------------------------------------------------------- the formulation


@here
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_computed_in_f32(dtype, rng):
    form = form_of(2, (8, 8), 32, 32).open("y", dtype=dtype, impl="winograd")
    arrays = {slot: np.asarray(jnp.asarray(v, dtype), np.float32) for slot, v in given(form, rng).items()}
    want = expected(form, arrays)
    for slot in "xky":
        one = form.open(slot)
        assert choose(one, Place()) == "winograd"
        got = bind(*(jnp.asarray(arrays[of], dtype) for of in one.operands), one)
        assert got.dtype == dtype
        error = np.abs(np.asarray(got, np.float64) - want[slot]).max() / np.abs(want[slot]).max()
        assert error < float(jnp.finfo(dtype).eps)


@here
def test_every_transformation(rng, assert_close):
    """grad of grad, jvp, vmap, scan and remat are those of the definition."""
    x, k = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((9, 4, 6, 32), (3, 3, 32, 32)))

    loss = lambda y: jnp.mean(jnp.sin(y / 20))  # noqa: E731
    text = jax.jit(functools.partial(transformed, "winograd", loss)).lower(x, k).as_text()
    assert all(f"jaxconv_winograd4_{slot}" in text for slot in "xky")
    got = jax.jit(functools.partial(transformed, "winograd", loss))(x, k)
    want = jax.jit(functools.partial(transformed, "einsum", loss))(x, k)
    jax.tree.map(assert_close, got, want)


@here
def test_what_is_exported_holds_no_call_of_ours():
    conv = jax.jit(functools.partial(jc.conv, padding=1, impl="winograd"))
    like = jax.ShapeDtypeStruct((5, 8, 8, 32), jnp.float32), jax.ShapeDtypeStruct((3, 3, 32, 32), jnp.float32)
    assert "jaxconv_winograd4_y" in conv.lower(*like).as_text()
    assert "custom_call" not in jax.export.export(conv)(*like).mlir_module()


@here
def test_where_it_is_chosen():
    form = form_of(2, (8, 8), 32, 32).open("y", impl="winograd")
    others = {
        "highest": {"precision": "highest"},
        "float32, its other name": {"precision": "float32"},
        "of one operand": {"precision": (jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGHEST)},
        "an algorithm": {"precision": jax.lax.DotAlgorithmPreset.F32_F32_F32},
        "stride": {"stride": (2, 1)},
        "dilation": {"dilation": (1, 2), "padding": ((1, 1), (2, 2))},
        "size": {"k": (3, 5, 32, 32), "padding": ((1, 1), (2, 2))},
        "few channels": {"x": (2, 8, 8, 23), "k": (3, 3, 23, 32)},
        "small groups": {"k": (3, 3, 8, 32), "groups": 4},
        "maps of 2×2": {"x": (2, 2, 2, 32)},
        "f64": {"dtype": "float64"},
    }
    for slot in "xky":
        assert choose(form.open(slot), Place()) == "winograd"
        assert choose(form.open(slot, impl="auto"), Place()) == "winograd"
        assert choose(form.open(slot, precision=jax.lax.Precision.HIGH), Place()) == "winograd"
        for name, changes in others.items():
            assert choose(form.open(slot, **changes), Place()) != "winograd", name
        assert choose(form.open(slot), Place("cpu", one_device=False)) != "winograd"
        assert choose(form.open(slot), Place("gpu")) == "lax"


@here
def test_the_highest_precision_as_jaxs_default():
    x, k = jnp.ones((5, 8, 8, 32)), jnp.ones((3, 3, 32, 32))
    conv = functools.partial(jc.conv, padding=1, impl="winograd")
    assert "jaxconv_winograd4_y" in jax.jit(conv).lower(x, k).as_text()
    with jax.default_matmul_precision("highest"):
        assert "winograd" not in jax.jit(conv).lower(x, k).as_text()
    assert "winograd" not in jax.jit(functools.partial(conv, precision="highest")).lower(x, k).as_text()


@pytest.mark.parametrize(
    ("slot", "n", "size", "c", "o", "side"),
    [
        ("y", 5, 8, 32, 16, 4), ("y", 5, 8, 16, 32, 2), ("x", 5, 8, 32, 16, 2), ("x", 5, 8, 16, 32, 4),
        ("k", 5, 8, 16, 64, 2), ("k", 5, 8, 64, 64, 4), ("y", 5, 6, 64, 64, 2), ("y", 32, 2, 64, 64, 2),
        ("y", 32, 3, 64, 64, 4), ("y", 32, 7, 64, 64, 4), ("y", 4, 8, 64, 64, 2), ("k", 2, 8, 64, 64, 4),
        ("k", 1, 8, 64, 64, 2),
    ],
)  # fmt: skip
def test_the_side_of_its_tiles(slot, n, size, c, o, side):
    assert formulation.tile(form_of(n, (size, size), c, o).open(slot)) == side


@here
@pytest.mark.slow
def test_switched_off_alone():
    code = """
    from jaxconv.engine import Form, native
    from jaxconv.engine.dispatch import choose
    from jaxconv.engine.rules import Place
    form = Form("y", (1, 8, 8, 32), (3, 3, 32, 32), (1, 1), ((1, 1), (1, 1)), (1, 1), impl="winograd")
    print(native.reason(), choose(form, Place()) == "winograd", choose(form.open("y", impl="native"), Place()))
    """
    assert run(code, JAXCONV_WINOGRAD="0").stdout.strip() == "None False native"
    assert run(code).stdout.strip() == "None True native"
