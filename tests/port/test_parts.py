"""Weights of a classifier for the encoder of a segmentation net: of files with torch's names and of runs."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models, port
from jaxconv._base.errors import ConfigError
from jaxconv.training import checkpoint

X = (1, 33, 40, 3)
SMALL = {"name": "resnet", "blocks": [1, 1], "bottleneck": False, "width": 4}
KEY = jax.random.key(5)


def classifier():
    return models.resnet(7, blocks=[1, 1], bottleneck=False, width=4)


@pytest.fixture
def trees(rng):
    """Params and state of a classifier, of values that differ everywhere."""
    born = jax.eval_shape(lambda: classifier().init(KEY, X))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), born)


@pytest.fixture(params=["torch", "run"])
def file(request, tmp_path, trees):
    if request.param == "torch":
        port.save(tmp_path / "weights.safetensors", classifier(), *trees, x=X)
        return tmp_path / "weights.safetensors"
    (tmp_path / "config.toml").write_text("")
    checkpoint.save(tmp_path / "params.safetensors", dict(zip(("params", "state"), trees, strict=True)))
    return tmp_path


NETS = {
    "fcn": lambda: models.fcn(3, encoder=SMALL, aux=True),
    "deeplabv3_plus": lambda: models.deeplabv3_plus(3, encoder=SMALL, width=8, rates=(1, 2)),
    "encoder_unet": lambda: models.encoder_unet(3, encoder=SMALL, width=4),
    "fpn": lambda: models.fpn(3, encoder=SMALL, width=8, head_width=8, groups=4),
}


@pytest.mark.parametrize("name", NETS)
def test_the_encoder_is_theirs_and_the_rest_is_new(file, trees, name):
    net = NETS[name]()
    fresh = net.init(KEY, X)
    loaded = port.pretrained(net, file, part="backbone", ignore="fc").init(KEY, X)
    for own, new, theirs in zip(loaded, fresh, trees, strict=True):
        assert jax.tree.structure(own) == jax.tree.structure(new)
        of_encoder = {part: theirs[part] for part in own["backbone"]}
        assert "layer2" in of_encoder
        jax.tree.map(np.testing.assert_array_equal, own["backbone"], of_encoder)
        others = [{part: tree for part, tree in each.items() if part != "backbone"} for each in (own, new)]
        jax.tree.map(np.testing.assert_array_equal, *others)


def test_parts_of_the_encoder_can_be_skipped(file, trees):
    net = NETS["fcn"]()
    params, _ = port.load(net, file, x=X, part="backbone", ignore="fc", skip="backbone/layer2", key=KEY)
    np.testing.assert_array_equal(params["backbone"]["conv1"]["kernel"], trees[0]["conv1"]["kernel"])
    fresh = net.init(KEY, X)[0]["backbone"]["layer2"]
    jax.tree.map(np.testing.assert_array_equal, params["backbone"]["layer2"], fresh)


def test_what_does_not_fit_is_named(file):
    net = NETS["fcn"]()
    with pytest.raises(port.PortError) as caught:
        port.load(net, file, x=X, part="backbone", key=KEY)
    assert "fix: ignore='fc' if the net needs none of the unexpected keys" in str(caught.value)
    deeper = models.fcn(3, encoder=SMALL | {"blocks": [1, 2]})
    with pytest.raises(port.PortError) as caught:
        port.load(deeper, file, x=X, part="backbone", ignore="fc", key=KEY)
    assert "backbone/layer2/1/conv1/kernel" in str(caught.value)
    near = "part must be the path of a part with parameters; got 'backbon'; did you mean 'backbone'?"
    for words, message in [
        ({"part": "backbon", "key": KEY}, near),
        ({"part": "backbone"}, "part initializes weights randomly, and needs a key\n  fix: key=jax.random.key(0)"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError) as refused:
            port.load(net, file, x=X, ignore="fc", **words)
        assert str(refused.value) == message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ignore"),
    [("resnet18", "fc"), ("mobilenet_v3_large", "classifier"), ("efficientnet_b0", "classifier"),
     ("convnext_tiny", "classifier"), ("vgg11_bn", "classifier"), ("densenet121", ["classifier"])],
)  # fmt: skip
def test_the_maps_are_those_of_torchvisions_classifier(name, ignore, rng):
    torch = pytest.importorskip("torch")
    from port.originals import original

    original("torchvision")
    import torchvision

    module = getattr(torchvision.models, name)(weights=None).eval()
    with torch.no_grad():
        for values in module.buffers():
            if values.dtype == torch.float32:
                values.uniform_(0.5, 1.5)
    x = rng.normal(size=(1, 64, 64, 3)).astype("float32")
    net = models.encoder_unet(3, encoder=name, width=8)
    ignore = ["features.norm5", *ignore] if name == "densenet121" else ignore
    params, state = port.load(net, module, part="backbone", ignore=ignore, key=KEY, x=x.shape)
    maps, _ = net.parts["backbone"].apply(params["backbone"], state["backbone"], x)
    theirs = []
    body = module.layer4 if name == "resnet18" else module.features
    body.register_forward_hook(lambda module, given, out: theirs.append(out.movedim(1, -1).numpy()))
    with torch.no_grad():
        module(torch.tensor(x).movedim(-1, 1))
    if name != "densenet121":  # whose last maps are those before the last norm
        np.testing.assert_allclose(maps[-1], theirs[0], rtol=1e-3, atol=1e-3 * np.abs(theirs[0]).max())
    assert jc.summary(net, x.shape)
