"""Random keys of every style."""

import jax
import pytest

import jaxconv as jc
from jaxconv._base.keys import check_key


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_typed_keys_and_raw_ones_of_the_default(impl):
    typed = jax.random.key(0, impl=impl)
    assert check_key(typed) is typed
    raw = jax.random.key_data(typed)
    with jax.default_prng_impl(impl):
        assert check_key(raw) is raw


@pytest.mark.parametrize(
    ("default", "given", "sizes"), [("threefry2x32", "rbg", (2, 4)), ("unsafe_rbg", "threefry2x32", (4, 2))]
)
def test_a_raw_key_of_another_style_is_refused_with_its_fix(default, given, sizes):
    raw = jax.random.key_data(jax.random.key(0, impl=given))
    with jax.default_prng_impl(default), pytest.raises(jc.ShapeError) as caught:
        jc.Dense(2).init(raw, (1, 3))
    assert str(caught.value) == (
        f"a raw key must be uint32 of shape ({sizes[0]},), as JAX reads it by its default, {default}\n"
        f"  got: uint32 of shape ({sizes[1]},)\n"
        f"  fix: jax.random.wrap_key_data(key, impl='{given}')"
    )
