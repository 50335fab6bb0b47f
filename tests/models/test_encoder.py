"""Encoders of segmentation nets: maps at their strides, of nets by name, by table or given."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import ConfigError, models
from jaxconv.models._encoder import ENCODERS, features_of

pytestmark = pytest.mark.sampled

# The last part at each stride, from the tables of the papers and torchvision's numbers of the parts.
STRIDES = {
    "resnet18": {2: "relu", 4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"},
    "resnet20": {1: "stage1", 2: "stage2", 4: "stage3"},
    "vgg11": {1: "1", 2: "4", 4: "9", 8: "14", 16: "19", 32: "20"},
    "alexnet": {4: "1", 8: "4", 16: "11", 32: "12"},
    "googlenet": {2: "conv1", 4: "conv3", 8: "inception3b", 16: "inception4e", 32: "inception5b"},
    "inception_v3": {2: "Conv2d_2b_3x3", 4: "Conv2d_4a_3x3", 8: "Mixed_5d", 16: "Mixed_6e", 32: "Mixed_7c"},
    "densenet121": {2: "relu0", 4: "denseblock1", 8: "denseblock2", 16: "denseblock3", 32: "norm5"},
    "mobilenet_v2": {2: "1", 4: "3", 8: "6", 16: "13", 32: "18"},
    "mobilenet_v3_large": {2: "1", 4: "3", 8: "6", 16: "12", 32: "16"},
    "efficientnet_b0": {2: "1", 4: "2", 8: "3", 16: "5", 32: "8"},
    "convnext_tiny": {4: "1", 8: "3", 16: "5", 32: "7"},
}
QUICK = {"resnet18", "resnet20", "vgg11"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in STRIDES])
def test_the_last_part_of_each_stride(name):
    found = features_of(name)
    assert {stride: found.at(stride) for stride in found.all_strides} == STRIDES[name]


@pytest.mark.slow
def test_dilated_ones_keep_their_parts_at_the_output_stride():
    for stride in (4, 8, 16):
        found = features_of("resnet18", output_stride=stride)
        assert (found.at(stride), found.channels["layer4"], max(found.all_strides)) == ("layer4", 512, stride)


def test_every_classifier_with_backbones_is_an_encoder():
    segmenters = {
        "deeplabv3",
        "deeplabv3_plus",
        "encoder_unet",
        "fcn",
        "fpn",
        "lraspp",
        "pspnet",
        "unet",
        "autoencoder",
    }
    made = {name for name in models.registry if not any(name.startswith(each) for each in segmenters)}
    repvgg = {name for name in made if name.startswith("repvgg")}  # its stages are one part
    assert made - set(ENCODERS) == {"airbench", "conv_pool", "lenet5", "small_residual"} | repvgg


def toy():
    stage = jc.chain(jc.Conv(6, 3, stride=2, padding=1), jc.BatchNorm(), jax.nn.relu)
    return jc.chain(stem=jc.Conv(4, 3, padding="same"), stage=stage, flat=jc.global_avg_pool, head=jc.Dense(3))


def test_a_layer_is_cut_after_its_last_maps_and_its_maps_are_those_of_the_net(rng):
    net, found = toy(), features_of(toy())
    assert (found.channels, found.strides) == ({"stem": 4, "stage": 6}, {"stem": 1, "stage": 2})
    x = rng.normal(size=(2, 9, 8, 3)).astype("float32")
    params, state = net.init(jax.random.key(0), x)
    both, one = found.maps("stem", "stage"), found.maps("stem")
    own = both.init(jax.random.key(0), x)
    jax.tree.map(
        np.testing.assert_array_equal, own, tuple({k: t[k] for k in ("stem", "stage")} for t in (params, state))
    )
    (stem, stage), new = both.apply(*own, x, train=True)
    np.testing.assert_array_equal(stem, jc.backbone(net, "stem").apply(params, state, x)[0])
    want, kept = jc.backbone(net, "stage").apply(params, state, x, train=True)
    np.testing.assert_array_equal(stage, want)
    jax.tree.map(np.testing.assert_array_equal, new["stage"], kept["stage"])
    np.testing.assert_array_equal(one.apply({"stem": params["stem"]}, {"stem": {}}, x)[0], stem)


def test_maps_come_in_the_order_that_is_asked_for(rng):
    found, x = features_of(toy()), rng.normal(size=(1, 9, 8, 3)).astype("float32")
    net = found.maps("stage", "stem")
    maps, _ = net.apply(*net.init(jax.random.key(0), x), x)
    assert [each.shape for each in maps] == [(1, 5, 4, 6), (1, 9, 8, 4)]


def test_upto_of_a_table_cuts_the_encoder():
    found = features_of({"name": "resnet18", "upto": "layer2"})
    assert (found.last, found.channels[found.last], found.strides[found.last]) == ("layer2", 128, 8)
    found = features_of({"name": "vgg11", "upto": "features/9"})
    assert (found.last, found.channels[found.last], found.strides[found.last]) == ("9", 256, 4)


WRONG = [
    ("resnet19", "got 'resnet19'; did you mean 'resnet18'?"),
    ({"blocks": [1]}, 'net.encoder must be a name, or a table with a name, { name = "resnet50" }; got '
                      "{'blocks': [1]}"),
    ({"name": "resnet", "widht": 8}, "net.encoder.widht: resnet takes"),
    ({"name": "resnet", "width": "8"}, "net.encoder.width: must be a whole number, got '8'"),
]  # fmt: skip


@pytest.mark.parametrize(("encoder", "message"), WRONG)
def test_an_encoder_of_a_config_that_there_is_not(encoder, message):
    with pytest.raises(ConfigError) as caught:
        features_of(encoder)
    assert message in str(caught.value)


def test_an_output_stride_needs_an_encoder_that_has_one():
    with pytest.raises(ConfigError, match=r"net\.encoder\.output_stride: vgg11 takes"):
        models.fcn(encoder="vgg11", output_stride=8)


def test_layers_without_maps_are_no_encoders():
    for net, message in (
        (jc.Conv(3, 3), "an encoder must be made of parts"),
        (jc.chain(jc.flatten, jc.Dense(3)), "an encoder must have parts that return feature maps"),
    ):
        with pytest.raises(jc.ShapeError, match=message):
            features_of(net)
