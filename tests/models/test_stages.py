"""Parts by number, and the end that all nets share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.models._stages import ending, numbered


def toy(num_classes=3, upto=None, pool=jc.global_avg_pool):
    body = {"stem": jc.Conv(4, 3), "act": jnp.tanh}
    return ending(
        body, lambda num_classes: {"fc": jc.Dense(num_classes)}, num_classes=num_classes, upto=upto, pool=pool
    )


def test_numbered_runs_more_than_ten_parts_in_their_order(rng):
    net = numbered(*(lambda x, n=n: x * 2 + n for n in range(12)))
    assert list(net.parts) == [str(n) for n in range(12)]
    empty = {str(n): {} for n in range(12)}
    want = 1.0
    for n in range(12):
        want = want * 2 + n
    assert net.apply(empty, empty, jnp.ones([]))[0] == want


def test_endings_share_weights_and_say_what_stands_before_the_head(rng):
    x = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)
    params, state = toy().init(jax.random.key(0), x)
    whole, headless, maps = (toy(**words) for words in ({}, {"num_classes": 0}, {"upto": "act"}))
    y, h, z = (net.apply(*net.init(jax.random.key(0), x), x)[0] for net in (whole, headless, maps))
    assert (y.shape, h.shape, z.shape) == ((2, 3), (2, 4), (2, 4, 5, 4))
    np.testing.assert_allclose(h, np.asarray(z).mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y, h @ params["fc"]["kernel"] + params["fc"]["bias"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps.apply(params, state, x)[0], z)  # takes the whole net's weights, too


def test_pool_is_a_part_of_its_own_or_none():
    assert list(toy(pool=jc.AdaptiveAvgPool(2)).parts) == ["stem", "act", "avgpool", "fc"]
    assert list(toy(pool=None).parts) == ["stem", "act", "fc"]
    assert list(toy(0, pool=None).parts) == ["stem", "act", "avgpool"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"num_classes": -1}, "num_classes must be ≥ 0\n  got: num_classes=-1"),
        ({"num_classes": "10"}, "num_classes must be an int\n  got: num_classes='10'"),
        ({"upto": "stm"}, "chain has stem, act, avgpool, fc\n  got: path 'stm'; did you mean 'stem'?"),
        ({"num_classes": 0, "upto": "fc"}, "chain has stem, act, avgpool\n  got: path 'fc'"),
        ({"upto": 3}, "a path must be text like 'stage1/conv0'\n  got: 3"),
    ],
)
def test_messages(words, message):
    with pytest.raises(jc.ShapeError) as caught:
        toy(**words)
    assert str(caught.value) == message
