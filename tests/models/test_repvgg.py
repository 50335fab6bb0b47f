"""RepVGG: counts as published, numbers as timm's, and one convolution for each block in inference."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Millions of parameters as trained (timm's table of models, pytorch-image-models/results) and in inference, and
# GFLOPS (multiplications with their additions) in inference: Ding et al. 2021, tables 4 and 5, of images of 224²; the
# paper cuts the digits off, and does not round.
PUBLISHED = {
    "repvgg_a0": (9.11, 8.30, 1.4),
    "repvgg_a1": (14.09, 12.78, 2.4),
    "repvgg_a2": (28.21, 25.49, 5.1),
    "repvgg_b0": (15.82, 14.33, 3.1),
    "repvgg_b1": (57.42, 51.82, 11.8),
    "repvgg_b2": (89.02, 80.31, 18.4),
    "repvgg_b3": (123.09, 110.96, 26.2),
}
SHAPE = (1, 224, 224, 3)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "repvgg_a0" else pytest.mark.slow) for n in PUBLISHED]
)
def test_parameters_and_multiplications_as_published(name):
    net = models.registry[name]()
    trained, merged, flops = PUBLISHED[name]
    assert round(jc.summary(net, SHAPE).parameters / 1e6, 2) == trained
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), SHAPE))
    made = []

    def merge(params, state):
        new, *rest = jc.reparameterize(net, params, state, SHAPE)
        made.append(new)
        return rest

    jax.eval_shape(merge, *shapes)
    found = jc.summary(made[0], SHAPE)
    assert (found.parameters // 10_000 / 100, round(found.macs / 1e9, 1)) == (merged, flops)


def timm_net(**words):
    pytest.importorskip("torch")
    from port.originals import original

    original("timm")
    byobnet = importlib.import_module("timm.models.byobnet")
    return byobnet.ByobNet(byobnet.ByoModelCfg(blocks=byobnet._rep_vgg_bcfg(**words), stem_type="rep", stem_chs=8), 7)


@pytest.mark.slow
def test_a_small_one_equals_timms(rng):
    from models.parity import check

    module = timm_net(d=(1, 2, 1, 1), wf=(0.125, 0.125, 0.125, 0.25))
    net = models.repvgg(7, blocks=(1, 2, 1, 1), widths=(8, 16, 32, 128))
    check(net, module, (2, 65, 48, 3), rng, source="timm")


@pytest.mark.slow
def test_kernels_are_those_of_timms_own_reparameterization(rng):
    torch = pytest.importorskip("torch")
    from models.parity import randomize

    module = timm_net(d=(1, 2), wf=(0.125, 0.125))
    randomize(module, rng)
    net = models.repvgg(7, blocks=(1, 2), widths=(8, 16))
    params, state = jc.port.load(net, module.state_dict(), "timm", x=(1, 32, 32, 3))
    merged, params, state = jc.reparameterize(net, params, state, (1, 32, 32, 3))
    assert not jax.tree.leaves(state)
    blocks = {("stem",): module.stem, ("stages", "1", "1"): module.stages[1][1]}
    for path, block in blocks.items():
        block.eval().reparameterize()
        own = params
        for name in (*path, "branches"):
            own = own[name]
        kernel, bias = (v.detach().numpy() for v in (block.reparam_conv.weight, block.reparam_conv.bias))
        np.testing.assert_allclose(own["kernel"], kernel.transpose(2, 3, 1, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(own["bias"], bias, rtol=1e-5, atol=1e-6)
    x = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        want = module.eval()(torch.tensor(x).movedim(-1, 1)).numpy()
    np.testing.assert_allclose(merged.apply(params, state, x)[0], want, atol=1e-5 * np.abs(want).max())


def test_the_input_is_a_branch_only_of_its_own_shape():
    net = models.repvgg(blocks=(2,), widths=(64,))
    assert [list(block.parts["branches"].parts) for block in net.parts["stages"].parts["0"].parts.values()] == [
        ["conv_kxk", "conv_1x1"],
        ["conv_kxk", "conv_1x1", "identity"],
    ]
    params, _ = jax.eval_shape(lambda: models.repvgg(blocks=(1,), widths=(96,)).init(jax.random.key(0), (1, 8, 8, 3)))
    assert jax.tree.map(jnp.shape, params["stem"]["branches"]["conv_kxk"]["conv"]["kernel"]) == (3, 3, 3, 64)


def test_a_width_for_each_stage():
    with pytest.raises(jc.ShapeError) as caught:
        models.repvgg(blocks=(1, 2), widths=(8,))
    assert str(caught.value) == (
        "blocks and widths must have one number for each stage\n  got: blocks=(1, 2), widths=(8,)"
    )
