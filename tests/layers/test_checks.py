"""The check for channels-first images: once, of the shape that a net is given."""

import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc

KEY = jax.random.key(0)
NCHW = (2, 3, 32, 32)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "net",
    [
        jc.Conv(4, 3, padding=1),
        jc.Conv(4, (3, 3), padding=1),
        jc.ConvTranspose(4, 3),
        jc.LocalConv(4, (2, 2)),
        jc.DepthwiseConv(3, padding=1),
        jc.chain(jnp.tanh, jc.Conv(4, 1)),
        jc.chain(body=jc.chain(jc.residual(jc.Conv(32, 1)))),
        jc.chain(jc.cast(jc.Conv(32, 1), jnp.bfloat16), jc.Conv(4, 1)),
        jc.chain(jc.repeat(jc.Conv(32, 1), 2)),
        jc.chain(jc.remat(jc.Conv(32, 1))),
    ],
    ids=repr,
)
def test_refused_at_the_entry_whatever_is_around(net):
    with pytest.raises(jc.ShapeError, match=r"\(2, 3, 32, 32\), which looks like NCHW") as caught:
        net.init(KEY, NCHW)
    assert caught.value.kind == "layout"
    with jc.assume_channels_last():
        net.init(KEY, NCHW)
    with pytest.raises(jc.ShapeError):  # the block is left
        net.init(KEY, NCHW)


def test_maps_inside_a_net_may_look_like_nchw():
    net = jc.chain(jc.Conv(7, 3), jc.Conv(4, 1), jc.chain(jc.Conv(7, 1), jc.Conv(4, 1)))
    params, _ = net.init(KEY, (1, 5, 9, 2))  # (1, 3, 7, 7) after the first
    assert params["conv1"]["kernel"].shape == (1, 1, 7, 4)


def test_a_net_that_turns_its_images_takes_nchw():
    params, _ = jc.chain(lambda x: jnp.moveaxis(x, 1, -1), jc.Conv(4, 3)).init(KEY, NCHW)
    assert params["conv0"]["kernel"].shape == (3, 3, 3, 4)


def test_volumes_and_signals_are_never_refused():
    jc.Conv(4, (1, 1, 1)).init(KEY, (3, 32, 32, 3))  # one volume, without N
    jc.Conv(4, 1).init(KEY, (2, 3, 32, 32, 32))
    jc.Conv(4, (1,)).init(KEY, (2, 3, 32))


def test_after_an_error_the_next_net_is_checked_anew():
    with pytest.raises(jc.ShapeError, match="must fit"):
        jc.chain(jc.Conv(4, 9)).init(KEY, (1, 4, 4, 3))
    with pytest.raises(jc.ShapeError, match="NCHW"):
        jc.Conv(4, 1).init(KEY, NCHW)
