"""Weights of transformers' own models in our nets: the same logits, layer by layer, and back again."""

import importlib.util

import numpy as np
import pytest
from port.originals import original

from jaxconv import models, port
from jaxconv.port.weights.leaves import leaves_of

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = pytest.mark.slow  # transformers takes long to import

CLASSES = 5
SHAPE = (2, 32, 32, 3)


def imported():
    """The transformers package. It imports torchvision, which may need its operators declared first."""
    if importlib.util.find_spec("torchvision"):
        original("torchvision")
    return pytest.importorskip("transformers")


def resnet(transformers, layer_type, factor):
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[factor * w for w in (8, 16, 32, 64)], depths=[2, 1, 1, 2],
        layer_type=layer_type, num_labels=CLASSES,
    )  # fmt: skip
    words = {"blocks": (2, 1, 1, 2), "width": 8, "bottleneck": layer_type == "bottleneck"}
    return transformers.ResNetForImageClassification(config), "resnet", words


def convnext(transformers):
    widths, depths = (8, 16, 24, 32), (1, 2, 1, 1)
    config = transformers.ConvNextConfig(
        hidden_sizes=list(widths), depths=list(depths), num_labels=CLASSES, layer_norm_eps=1e-6
    )
    return transformers.ConvNextForImageClassification(config), "convnext", {"widths": widths, "depths": depths}


def mobilenet_v2(transformers):
    # torchvision's padding is symmetric and its eps torch's own.
    config = transformers.MobileNetV2Config(
        depth_multiplier=0.5, tf_padding=False, layer_norm_eps=1e-5, num_labels=CLASSES
    )
    return transformers.MobileNetV2ForImageClassification(config), "mobilenet_v2", {"width": 0.5}


def efficientnet(transformers):
    config = transformers.EfficientNetConfig(
        width_coefficient=0.5, depth_coefficient=0.5, hidden_dim=640, batch_norm_eps=1e-5, num_labels=CLASSES,
        image_size=64, depthwise_padding=list(range(20)),  # symmetric, where Keras' own is not
    )  # fmt: skip
    model = transformers.EfficientNetForImageClassification(config)
    model.efficientnet.embeddings.padding.padding = (1, 1, 1, 1)
    return model, "efficientnet", {"width": 0.5, "depth": 0.5}


MODELS = {
    "resnet of basic blocks": lambda t: resnet(t, "basic", 1),
    "resnet of bottlenecks": lambda t: resnet(t, "bottleneck", 4),
    "convnext": convnext,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet": efficientnet,
}


def randomize(model, rng):
    """Weights that keep the size of what goes through, and statistics that are not those of a fresh net."""
    with torch.no_grad():
        for weight in model.parameters():
            size = tuple(weight.shape)
            values = (
                rng.normal(size=size) * (2 / weight[0].numel()) ** 0.5
                if weight.ndim > 1
                else rng.uniform(0.5, 1.5, size)
            )
            weight.copy_(torch.tensor(values))
        for name, statistic in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.copy_(torch.tensor(rng.uniform(0.5, 1.5, tuple(statistic.shape))))


@pytest.mark.parametrize("case", MODELS)
def test_a_model(case, rng, tmp_path, quick_jit):
    transformers = imported()
    model, name, words = MODELS[case](transformers)
    if name not in models.registry:
        pytest.skip(f"there is no {name}")
    randomize(model, rng)
    net = models.registry[name](CLASSES, **words)
    params, state = port.load(net, model, "transformers", x=SHAPE)
    x = rng.normal(size=SHAPE).astype(np.float32)
    found = port.compare(net, params, state, model, x, source="transformers")
    assert found.agrees, str(found)
    weighted = {leaf.part for leaf in leaves_of(net, SHAPE)}
    assert len(found.pairs) > 0.9 * len(weighted)

    with torch.no_grad():
        want = model.eval()(torch.tensor(np.moveaxis(x, -1, 1).copy())).logits
    got = quick_jit(lambda x: net.apply(params, state, x)[0])(x)
    assert np.linalg.norm(got - want.numpy()) <= 1e-4 * np.linalg.norm(want.numpy())

    port.save(tmp_path / "model.safetensors", net, params, state, "transformers", x=SHAPE, like=model)
    from safetensors.torch import load_file

    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    for key, tensor in model.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(tensor, before[key]), key


def test_a_model_without_its_head(rng):
    transformers = imported()
    if "resnet" not in models.registry:
        pytest.skip("there is no resnet")
    model, name, words = resnet(transformers, "basic", 1)
    params, _ = port.load(models.registry[name](0, **words), model.resnet, "transformers", x=SHAPE)
    want = model.resnet.embedder.embedder.convolution.weight.detach().numpy()
    np.testing.assert_array_equal(params["conv1"]["kernel"], np.transpose(want, (2, 3, 1, 0)))
