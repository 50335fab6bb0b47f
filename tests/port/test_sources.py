"""Every way to name the weights of a net, what is skipped and what is ignored."""

import jax
import numpy as np
import pytest
from support.weights import IMAGES, NET, named, weights_of

import jaxconv as jc
from jaxconv import port


def function(path):
    *part, leaf = path.split("/")
    words = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    return ".".join(["net", *part, words.get(leaf, leaf)])


@pytest.mark.parametrize(
    ("source", "stem", "head"),
    [
        ("torchvision", "stem", "head"),
        ({"stem": "backbone.embed", "head": "fc"}, "backbone.embed", "fc"),
        ({r"stem/(\d)": r"layer\1", "head/kernel": "out.weight", "head/bias": "out.bias"}, "layer", "out"),
        ({"": "model"}, "model.stem", "model.head"),
        ({"": "model", "head": "fc"}, "model.stem", "fc"),
        (function, "net.stem", "net.head"),
    ],
    ids=["torchvision", "parts", "regex", "prefix", "prefix and part", "function"],
)
def test_sources(source, stem, head, rng):
    weights = weights_of(stem, head, rng)
    if stem == "layer":
        weights = {name.replace("layer.", "layer"): array for name, array in weights.items()}
    params, state = port.load(NET, weights, source, x=IMAGES)
    first = next(array for name, array in weights.items() if name.endswith("0.weight"))
    np.testing.assert_array_equal(params["stem"]["0"]["kernel"], np.transpose(first, (2, 3, 1, 0)))
    np.testing.assert_array_equal(params["head"]["bias"], weights[f"{head}.bias"])
    variance = next(array for name, array in weights.items() if name.endswith("running_var"))
    np.testing.assert_array_equal(state["stem"]["1"]["var"], variance)


def test_buffers_are_not_left_over(rng):
    weights = weights_of("stem", "head", rng) | {"stem.1.num_batches_tracked": np.array(7)}
    port.load(NET, weights, x=IMAGES)


def test_a_new_head_and_what_is_not_needed(rng):
    weights = weights_of("stem", "head", rng) | {"aux.0.weight": np.ones(3), "aux.0.bias": np.ones(3)}
    weights["head.weight"], weights["head.bias"] = np.ones((7, 4)), np.ones(7)
    key = jax.random.key(3)
    params, _ = port.load(NET, weights, x=IMAGES, skip="head", ignore=["aux"], key=key)
    fresh, _ = NET.init(key, IMAGES)
    jax.tree.map(np.testing.assert_array_equal, params["head"], fresh["head"])
    np.testing.assert_array_equal(params["stem"]["0"]["kernel"], np.transpose(weights["stem.0.weight"], (2, 3, 1, 0)))


def test_a_backbone_of_a_whole_net(rng):
    weights = weights_of("stem", "head", rng)
    params, _ = port.load(jc.backbone(NET, upto="stem"), weights, x=IMAGES, ignore="head.*")
    assert set(params) == {"stem"}


RESNET = jc.chain(
    conv1=jc.Conv(4, 3, bias=False), bn1=jc.BatchNorm(),
    layer1=named(jc.chain(conv1=jc.Conv(4, 1, bias=False), bn1=jc.BatchNorm())),
    avgpool=jc.global_avg_pool, fc=jc.Dense(2),
)  # fmt: skip
STAGE = "resnet.encoder.stages.0.layers.0.layer.0"


def transformers_resnet(rng):
    words = [f"normalization.{word}" for word in ("weight", "bias", "running_mean", "running_var")]
    shapes = {f"{at}.{word}": (4,) for at in ("resnet.embedder.embedder", STAGE) for word in words}
    shapes |= {"resnet.embedder.embedder.convolution.weight": (4, 3, 3, 3), f"{STAGE}.convolution.weight": (4, 4, 1, 1)}
    shapes |= {"classifier.1.weight": (2, 4), "classifier.1.bias": (2,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_transformers(rng):
    weights = transformers_resnet(rng)
    params, state = port.load(RESNET, weights, "transformers", x=IMAGES)
    got, want = params["layer1"]["0"]["conv1"]["kernel"], weights[f"{STAGE}.convolution.weight"]
    np.testing.assert_array_equal(got[0, 0], want[:, :, 0, 0].T)
    np.testing.assert_array_equal(state["bn1"]["var"], weights["resnet.embedder.embedder.normalization.running_var"])
    np.testing.assert_array_equal(params["fc"]["bias"], weights["classifier.1.bias"])
    headless = {name.removeprefix("resnet."): array for name, array in weights.items() if "classifier" not in name}
    backbone = jc.backbone(RESNET, upto="avgpool")
    again, _ = port.load(backbone, headless, "transformers", x=IMAGES)
    np.testing.assert_array_equal(again["layer1"]["0"]["conv1"]["kernel"], got)


def test_another_source_is_suggested(rng):
    with pytest.raises(port.PortError) as caught:
        port.load(RESNET, transformers_resnet(rng), x=IMAGES)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  fix: source='transformers': 12 of the net's 12 names match"
    assert not lines[2].startswith("  fix")


def test_a_head_that_timm_has_as_convolutions(rng):
    body = {"features": named(jc.Conv(4, 3)), "flatten": jc.flatten}
    net = jc.chain(**body, classifier=jc.chain(**{"0": jc.Dense(5), "3": jc.Dense(5), "6": jc.Dense(2)}))
    shapes = {
        "features.0": (4, 3, 3, 3),
        "pre_logits.fc1": (5, 4, 4, 2),
        "pre_logits.fc2": (5, 5, 1, 1),
        "head.fc": (2, 5),
    }
    weights = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    params, state = port.load(net, weights, "timm", x=(1, 6, 4, 3))
    maps = rng.normal(size=(1, 4, 2, 4)).astype(np.float32)
    want = np.einsum("nhwc,ochw->no", maps, weights["pre_logits.fc1.weight"])
    np.testing.assert_allclose(maps.reshape(1, -1) @ params["classifier"]["0"]["kernel"], want, rtol=1e-4, atol=1e-5)
    back = port.state_dict(net, params, state, "timm", x=(1, 6, 4, 3), like=weights)
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array, name)
