"""FCN, DeepLab, LR-ASPP, PSPNet, FPN, U-Net on encoders: counts as published, numbers as torchvision's and torch's."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models, port
from jaxconv.models._fpn import feature_pyramid

pytestmark = pytest.mark.sampled

# Parameters and GFLOPS (multiplications with their additions) at 520×520 as torchvision 0.28 documents them for its
# weights, and the channels that an auxiliary classifier gets, which is among both: 3×3 to a quarter, 1×1 to 21.
PUBLISHED = {
    "fcn_resnet50": (35_322_218, 152.717, 1024),
    "fcn_resnet101": (54_314_346, 232.738, 1024),
    "deeplabv3_resnet50": (42_004_074, 178.722, 1024),
    "deeplabv3_resnet101": (60_996_202, 258.743, 1024),
    "deeplabv3_mobilenet_v3_large": (11_029_328, 10.452, 40),
    "lraspp_mobilenet_v3_large": (3_221_538, 2.086, 0),
}
SMALL = {"name": "resnet", "blocks": [1, 1, 1], "bottleneck": False, "width": 8}
CLASSES = 5


def auxiliary(channels):
    """Parameters and multiplications at stride 8 of an image of 520×520."""
    inner = channels // 4
    convs = channels * inner * 9 + inner * 21
    return (convs + 2 * inner + 21) * bool(channels), convs * 65 * 65


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiplications_as_published(name):
    parameters, macs, channels = PUBLISHED[name]
    found, (more, taps) = jc.summary(models.registry[name](), (1, 520, 520, 3)), auxiliary(channels)
    assert (found.parameters + more, round((found.macs + taps) / 1e9, 3)) == (parameters, macs)


def torchvisions(name):
    from port.originals import original

    original("torchvision")
    from torchvision.models import segmentation

    return getattr(segmentation, name)(weights=None, weights_backbone=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_whole_ones_equal_torchvisions(name, rng):
    pytest.importorskip("torch")
    from models.parity import check

    words = {} if name.startswith("lraspp") else {"dropout": 0.0}
    net, module = models.registry[name](**words), torchvisions(name)
    check(net, module, (2, 64, 67, 3), rng, train=False, forward=lambda module, x: module(x)["out"])


def with_exact_sixths(module):
    """Torch's own hard sigmoid takes a sixth in float32 in its gradient, whatever the type."""
    from models.torch_nets import inverted
    from torch import nn

    exact = {nn.Hardswish: inverted.HardSwish, nn.Hardsigmoid: inverted.HardSigmoid}
    for part in list(module.modules()):
        for name, child in part.named_children():
            if type(child) in exact:
                setattr(part, name, exact[type(child)]())
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_gradients_and_statistics_equal_torchvisions(name, rng):
    pytest.importorskip("torch")
    from models.parity import check

    words = {} if name.startswith("lraspp") else {"dropout": 0.0}
    with jax.enable_x64(True):
        net, module = models.registry[name](**words), with_exact_sixths(torchvisions(name))
        out = {"forward": lambda module, x: module(x)["out"]}
        check(net, module, (2, 49, 64, 3), rng, dtype="float64", evaluates=False, **out)


@pytest.mark.slow
def test_auxiliary_classifiers_of_a_file_are_ignored_when_asked(rng):
    torch = pytest.importorskip("torch")
    from port.originals import original

    original("torchvision")
    from torchvision.models import segmentation

    module = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, aux_loss=True).eval()
    net, x = models.deeplabv3_mobilenet_v3_large(), rng.normal(size=(1, 49, 64, 3)).astype("float32")
    with pytest.raises(port.PortError, match=r"aux_classifier\.4\.bias"):
        port.load(net, module)
    params, state = port.load(net, module, ignore="aux_classifier")
    with torch.no_grad():
        want = module(torch.tensor(x).movedim(-1, 1))["out"].movedim(1, -1)
    np.testing.assert_allclose(net.apply(params, state, x)[0], want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_auxiliary_logits_equal_torchvisions(rng):
    torch = pytest.importorskip("torch")
    from port.originals import original

    original("torchvision")
    from torchvision.models import segmentation

    from jaxconv.models._encoder import conv_norm_act

    module = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, aux_loss=True).eval()
    net, x = models.deeplabv3_mobilenet_v3_large(aux=True), rng.normal(size=(1, 49, 64, 3)).astype("float32")
    params, state = port.load(net, module)
    with torch.no_grad():
        want = {name: y.movedim(1, -1).numpy() for name, y in module(torch.tensor(x).movedim(-1, 1)).items()}
    np.testing.assert_allclose(net.apply(params, state, x)[0], want["out"], rtol=1e-4, atol=1e-4)
    tap, _ = net.parts["backbone"].apply(params["backbone"], state["backbone"], x)[0]
    head = conv_norm_act(10, 3, jc.Dropout(0.1), jc.Conv(21, 1))  # its dropout would differ from torch's in training
    logits, _ = head.apply(params["aux_classifier"], state["aux_classifier"], tap)
    np.testing.assert_allclose(jc.ops.resize(logits, (49, 64), mode="linear"), want["aux"], rtol=1e-4, atol=1e-4)


def small_torch(name):
    from models.torch_nets import segmentation as nets

    return {
        "deeplabv3_plus": lambda: nets.Segmenter(nets.DeepLabV3PlusHead(CLASSES, 8, 32, 8, 4, (1, 2))),
        "pspnet": lambda: nets.Segmenter(nets.PSPHead(CLASSES, 32, 8, (1, 2))),
        "fpn": lambda: nets.Segmenter(nets.FPNHead(CLASSES, (8, 8, 16, 32), 8, 8, 4)),
        "encoder_unet": lambda: nets.EncoderUNet(CLASSES, 4),
    }[name]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "deeplabv3_plus",
            {"width": 8, "skip_width": 4, "rates": (1, 2), "dropout": 0.0, "output_stride": 16},
        ),
        ("pspnet", {"width": 8, "sizes": (1, 2), "dropout": 0.0, "output_stride": 16}),
        ("fpn", {"width": 8, "head_width": 8, "groups": 4}),
        ("encoder_unet", {"width": 4}),
    ],
)
@pytest.mark.parametrize("shape", [(2, 48, 64, 3), (3, 45, 54, 3)])
def test_small_ones_equal_torch(name, words, shape, rng):
    pytest.importorskip("torch")
    from models.parity import check

    with jax.enable_x64(True):
        net = models.registry[name](CLASSES, encoder=SMALL, **words)
        check(net, small_torch(name), shape, rng, dtype="float64")


@pytest.mark.slow
def test_the_feature_pyramid_is_torchvisions(rng):
    torch = pytest.importorskip("torch")
    from port.originals import original

    original("torchvision")
    from torchvision.ops import FeaturePyramidNetwork

    module, net = FeaturePyramidNetwork([4, 8, 16], 6), feature_pyramid(3, 6)
    maps = [rng.normal(size=(2, n, n + 2, c)).astype("float32") for n, c in ((13, 4), (7, 8), (4, 16))]
    params, state = port.load(net, module, x=maps)
    found, _ = net.apply(params, state, maps)
    with torch.no_grad():
        want = module({str(n): torch.tensor(x).movedim(-1, 1) for n, x in enumerate(maps)})
    for ours, theirs in zip(found, want.values(), strict=True):
        np.testing.assert_allclose(ours, theirs.movedim(1, -1), rtol=1e-4, atol=1e-5)


# Every encoder below a U-Net, whose sizes are the strictest, and one of the other heads.
ENCODERS = {
    "alexnet": "fpn", "convnext_tiny": "deeplabv3_plus", "densenet121": "fcn", "efficientnet_b0": "lraspp",
    "googlenet": "fpn", "inception_v3": "lraspp", "mobilenet_v2": "deeplabv3", "mobilenet_v3_small": "deeplabv3_plus",
    "resnet18": "pspnet", "resnext50_32x4d": "fcn", "vgg11_bn": "pspnet",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoder"), [*((name, e) for e, name in ENCODERS.items()),
                                               *(("encoder_unet", e) for e in ENCODERS)])  # fmt: skip
def test_logits_of_every_pixel_above_any_encoder(name, encoder):
    net = models.registry[name](CLASSES, encoder=encoder)
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 129, 150, 3)))
    y, _ = jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 129, 150, 3), "float32"))
    assert y.shape == (1, 129, 150, CLASSES)


FEATURES = {
    "deeplabv3": (6, 7, 256), "deeplabv3_plus": (12, 14, 256), "encoder_unet": (45, 54, 16), "fcn": (6, 7, 8),
    "fpn": (23, 27, 128), "lraspp": (6, 7, 128), "pspnet": (6, 7, 512),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_features_without_a_head(name):
    net = models.registry[name](0, encoder=SMALL)
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 45, 54, 3)))
    y, _ = jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 45, 54, 3), "float32"))
    assert y.shape == (1, *FEATURES[name])


MESSAGES = [
    (lambda: models.fcn(num_classes=-1, encoder=SMALL), "num_classes must be ≥ 0\n  got: num_classes=-1"),
    (lambda: models.pspnet(encoder=SMALL, sizes=()), "sizes must be a sequence of at least one int\n  got: sizes=()"),
    (lambda: models.deeplabv3(encoder=SMALL, rates=(0,)), "rates must be ≥ 1\n  got: rates=0"),
    (lambda: models.fpn(encoder=SMALL, levels=["layer1"]), "fpn needs at least two levels of its encoder\n"
                                                           "  got: levels=['layer1']"),
    (lambda: models.fpn(encoder=SMALL, levels=["layer1", "layer9"]),
     "the encoder has maps of conv1, bn1, relu, maxpool, layer1, layer2, layer3\n"
     "  got: 'layer9'; did you mean 'layer3'?"),
    (lambda: models.lraspp(encoder=SMALL, levels=["layer3"]), "lraspp needs two levels of its encoder\n"
                                                              "  got: levels=['layer3']"),
    (lambda: models.deeplabv3_plus(encoder={"name": "resnet20"}, output_stride=None, upto="x"),
     "deeplabv3_plus has backbone, classifier\n  got: path 'x'"),
    (lambda: models.lraspp(encoder={"name": "resnet20"}),
     "this decoder needs maps at stride 8\n  got: an encoder with strides 1, 2, 4"),
    (lambda: models.encoder_unet(encoder={"name": "resnet20", "upto": "stage1"}),
     "encoder_unet needs an encoder with maps at two strides\n  got: stride 1 alone"),
    (lambda: models.fcn(encoder=SMALL, aux="layer9"),
     "the encoder has maps of conv1, bn1, relu, maxpool, layer1, layer2, layer3\n"
     "  got: 'layer9'; did you mean 'layer3'?"),
    (lambda: models.pspnet(0, encoder=SMALL, aux=True), "aux needs logits\n  got: num_classes=0\n  fix: aux=False"),
    (lambda: models.encoder_unet(encoder=SMALL, width=0), "width must be ≥ 1\n  got: width=0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), MESSAGES)
def test_messages(call, message):
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert str(caught.value) == message
