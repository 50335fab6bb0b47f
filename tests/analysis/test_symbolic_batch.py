"""A batch that is a symbol: the numbers are those of any batch that it may stand for."""

import json

import jax
import jax.export
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.analysis.summary import summary
from jaxconv.analysis.symbolic_batch import Affine, affine, with_batch

relu = jax.nn.relu
NUMBERS = ("macs", "inside", "other", "parameters", "moved", "parameter_bytes", "peak_bytes", "peak_at", "input")
IN_ROWS = ("path", "output", "parameters", "macs", "inside", "other", "bytes", "moved", "times", "field", "size")


def at(value, n):
    """A number, or shape, of a symbolic batch for a batch of n."""
    if isinstance(value, tuple):
        return tuple(at(v, n) for v in value)
    return value(n) if isinstance(value, Affine) else value


def small():
    body = jc.chain(jc.Conv(6, 3, padding=1), jc.BatchNorm(), relu)
    return jc.chain(jc.Conv(6, 3, stride=2, padding=1), jc.residual(body), jc.MaxPool(2), jc.flatten, head=jc.Dense(5))


def mapped(x):
    """A loop over the images, one at a time, and a product of weights that no image is in."""
    kernel = jnp.ones((3, 4)) @ jnp.ones((4, 2))
    return jax.lax.map(lambda image: jnp.tanh(image @ kernel), x)


NETS = {
    "chain": (small, (9, 8, 2)),
    "repeat": (lambda: jc.chain(jc.repeat(jc.Conv(2, 3, padding=1), 3), jc.global_avg_pool), (6, 6, 2)),
    "function": (lambda: mapped, (5, 4, 3)),
    "vectors": (lambda: jc.Dense(3), (7,)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETS)
def test_every_number_is_that_of_a_batch_with_a_number(name):
    build, shape = NETS[name]
    net = build()
    symbolic = summary(net, ("n", *shape))
    for n in (4, 33):
        found = summary(net, (n, *shape))
        for word in NUMBERS:
            assert at(getattr(symbolic, word), n) == getattr(found, word), word
        for ours, theirs in zip(symbolic.rows, found.rows, strict=True):
            for word in IN_ROWS:
                assert at(getattr(ours, word), n) == getattr(theirs, word), (ours.path, word)
        assert at(symbolic.training.kept, n) == found.training.kept
    assert symbolic.symbol == "n"
    assert isinstance(symbolic.macs, Affine)


def test_a_loop_over_the_images_moves_each_once():
    (_, loop) = summary(mapped, ("n", 5, 4, 3)).rows
    assert (loop.moved.fixed, loop.moved.each) == (0, 4 * (5 * 4 * 3 + 3 * 2 + 5 * 4 * 2))
    assert str(loop.times) == "n"


@pytest.mark.slow
def test_names_and_symbols_of_jax_are_the_same():
    net = small()
    texts = {
        str(summary(net, ("n", 9, 8, 2))),
        str(summary(net, jax.export.symbolic_shape("n, 9, 8, 2"))),
        str(summary(net, jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 9, 8, 2"), jnp.float32))),
    }
    assert len(texts) == 1


def test_what_it_looks_like():
    found = summary(jc.chain(jc.Conv(20, 5), jc.flatten, head=jc.Dense(10)), ("batch", 28, 28, 1))
    lines = [" ".join(line.split()) for line in str(found).splitlines()]
    assert lines[3] == "conv0 batch×24×24×20 5×5 520 batch·288.00 k 5×5"
    assert "input batch×28×28×1" in lines
    assert "MACs batch·403,200; batch·403,200 excluding taps on padding" in lines
    assert max(map(len, str(found).splitlines()[:6])) <= 80
    assert found.intensity == 2 * 403_200 / found.moved.each
    data = json.loads(found.json())
    assert data["macs"] == {"fixed": 0, "each": 403_200, "symbol": "batch"}
    assert data["rows"][0]["output"][0] == {"fixed": 0, "each": 1, "symbol": "batch"}
    assert "batch×24×24×20" in found.markdown()
    assert "batch·288.00 k" in found._repr_html_()


def test_numbers_in_words():
    assert str(Affine(0, 1, "n") + Affine(3, 4, "n") + 2) == "5 + n·5"
    assert f"{sum([Affine(0, 1000, 'n'), 0, Affine(0, 234, 'n')]):,}" == "n·1,234"
    assert [bool(Affine(*pair, "n")) for pair in [(0, 0), (1, 0), (0, 1)]] == [False, True, True]
    assert affine([7, 10, 22], "n", "x") == Affine(1, 3, "n")
    assert with_batch({"a": (3, 4), "b": jnp.ones((2, 2))}) is None
    name, put = with_batch({"a": ("k", 4), "b": jax.ShapeDtypeStruct((2, 2), jnp.int32)})
    assert (name, put(5)["a"], put(5)["b"].shape) == ("k", (5, 4), (2, 2))


def pairs(x):
    flat = x.reshape(len(x), -1)
    return flat @ flat.T


beside = 'only the batch may be symbolic; all other sizes of x must be numbers\n  got: {}\n  fix: ("n", 28, 28, 1)'
MESSAGES = {
    "every pair of images": (
        lambda: summary(pairs, ("n", 4, 4, 1)),
        "with a batch of n, every count must be affine in n\n"
        "  got: macs of dot0: 64, 144, 784 for n = 2, 3, 7\n  fix: a number in place of n",
    ),
    "another program": (
        lambda: summary(lambda x: jnp.sin(x) if len(x) > 2 else jnp.sin(x.sum((1, 2))), ("n", 4, 4, 1)),
        "with a batch of n, every count must be affine in n\n"
        "  got: path of reduce_sum0: reduce_sum0, sin0, sin0 for n = 2, 3, 7\n  fix: a number in place of n",
    ),
    "a loop in Python": (
        lambda: summary(lambda x: [image @ jnp.ones((1, 2)) for image in x], ("n", 4, 4, 1)),
        "with a batch of n, every count must be affine in n\n"
        "  got: rows of the net: 3, 4, 8 for n = 2, 3, 7\n  fix: a number in place of n",
    ),
    "height": (lambda: summary(small(), (1, "h", 8, 2)), beside.format("(1, h, 8, 2)")),
    "twice": (lambda: summary(small(), jax.export.symbolic_shape("2*n, 9, 8, 2")), beside.format("(2*n, 9, 8, 2)")),
    "a net that cannot work": (
        lambda: summary(jc.chain(jc.Conv(3, 9)), ("n", 4, 4, 1)),
        "at conv0: conv: a kernel of 9 must fit into the padded input of 4 + 0 + 0 cells on spatial axis 0\n"
        "  got: spatial shape (4, 4); out = floor((4 + 0 + 0 - 1*(9 - 1) - 1) / 1) + 1 = -4\n"
        "  fix: a larger input, a kernel of at most 4, or padding='same'",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name):
    call, message = MESSAGES[name]
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
