"""LeNet-5: the paper's own counts, numbers as torch's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import quick

import jaxconv as jc
from jaxconv import models

IMAGE = (1, 28, 28, 1)
# LeCun et al. 1998, section II.B: trainable parameters, and connections, which are multiplications and biases.
PARAMETERS = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}
CONNECTIONS = {"c1": 122_304, "c5": 48_120, "f6": 10_164}
BIASES = {"c1": 28 * 28 * 6, "c5": 120, "f6": 84}


@pytest.mark.slow
def test_parameters_that_the_output_depends_on_are_the_papers_60_000(rng):
    net = models.lenet5(original=True)
    params, state = net.init(jax.random.key(0), IMAGE)
    x = rng.normal(size=(4, 28, 28, 1)).astype(np.float32)
    slope = jax.grad(lambda params: jnp.sum(net.apply(params, state, x)[0] ** 2))
    slopes = jax.jit(slope, compiler_options=quick.QUICK)(params)
    count = {name: sum(int((leaf != 0).sum()) for leaf in jax.tree.leaves(part)) for name, part in slopes.items()}
    assert {name: count[name] for name in PARAMETERS} == PARAMETERS
    assert sum(PARAMETERS.values()) == 60_000
    assert count["output"] == 84 * 10 + 10  # radial basis functions without parameters in the paper


def test_counts_of_the_form_it_is_taught_in():
    """61,706 parameters: all 6 maps into all 16, and pools without weights."""
    found = jc.summary(models.lenet5(), IMAGE)
    assert found.parameters == 61_706
    macs = {row.path: row.macs for row in found.rows}
    assert {name: macs[name] + BIASES[name] for name in CONNECTIONS} == CONNECTIONS
    assert found.macs == sum(CONNECTIONS.values()) - sum(BIASES.values()) + 10 * 10 * 16 * 150 + 84 * 10


FORMS = {
    "taught": ({}, {}),
    "relu and max": ({"activation": "relu", "pool": "max"}, {"act": "ReLU", "pool": "MaxPool2d"}),
    "original": ({"original": True}, {"original": True}),
}


@pytest.mark.parametrize("form", FORMS)
def test_equals_torch(form, rng):
    torch = pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.lenet import lenet5

    ours, theirs = FORMS[form]
    theirs = {word: getattr(torch.nn, v) if isinstance(v, str) else v for word, v in theirs.items()}
    shape = (2, 20, 33, 2)  # 10×16, 6×12, 3×6
    check(models.lenet5(7, **ours), lenet5(7, channels=2, flat=3 * 6 * 16, **theirs), shape, rng)


def test_12_pixels_are_enough_and_11_are_not():
    net = models.lenet5()
    params, _ = jax.eval_shape(lambda key: net.init(key, (1, 12, 12, 1)), jax.random.key(0))
    assert math.prod(params["c5"]["kernel"].shape) == 16 * 120
    with pytest.raises(jc.ShapeError) as caught:
        net.init(None, (1, 11, 12, 1))
    assert str(caught.value).startswith("at s4: ")


def test_messages():
    with pytest.raises(jc.ShapeError) as caught:
        models.lenet5(activation="gelu")
    assert str(caught.value) == (
        "activation must be one of tanh, relu, and pool one of avg, max\n  got: activation='gelu', pool='avg'"
    )
