"""Names of other packages, each family's written down here once more from the public sources."""

import pytest

from jaxconv.port.weights.families import SIGNS, TABLES, family_of, renamed

NORM = ("weight", "bias", "running_mean", "running_var")
MOBILENET_V2 = [(1, 1), (6, 2), (6, 3), (6, 4), (6, 3), (6, 3), (6, 1)]  # expansion and repeats of each stage
EFFICIENTNET_B0 = [(1, 1), (6, 2), (6, 2), (6, 3), (6, 3), (6, 4), (6, 1)]
# Whether each block expands, and whether it squeezes and excites.
V3_SMALL = [[(0, 1)], [(1, 0)] * 2, [(1, 1)] * 3, [(1, 1)] * 2, [(1, 1)] * 3]
V3_LARGE = [[(0, 0)], [(1, 0)] * 2, [(1, 1)] * 3, [(1, 0)] * 4, [(1, 1)] * 2, [(1, 1)] * 3]


def timm_block(expands, squeezes):
    """An inverted residual block: torchvision's parts of `block` and timm's."""
    steps = ["conv_pw", "conv_dw", "conv_pwl"] if expands else ["conv_dw", "conv_pw"]
    parts, number = {}, 0
    for i, step in enumerate(steps):
        if squeezes and i == len(steps) - 1:
            parts |= {f"{number}.fc1": "se.conv_reduce", f"{number}.fc2": "se.conv_expand"}
            number += 1
        parts |= {f"{number}.0": step, f"{number}.1": f"bn{i + 1}"}
        number += 1
    return parts


def timm_efficientnet():
    pairs = {"features.0.0": "conv_stem", "features.0.1": "bn1", "features.8.0": "conv_head", "features.8.1": "bn2"}
    for s, (expansion, repeats) in enumerate(EFFICIENTNET_B0):
        for b in range(repeats):
            for ours, theirs in timm_block(expansion > 1, True).items():
                pairs[f"features.{s + 1}.{b}.block.{ours}"] = f"blocks.{s}.{b}.{theirs}"
    return pairs | {"classifier.1": "classifier"}


def timm_mobilenet_v3(stages):
    pairs, at = {"features.0.0": "conv_stem", "features.0.1": "bn1"}, 1
    for s, blocks in enumerate(stages):
        for b, (expands, squeezes) in enumerate(blocks):
            for ours, theirs in timm_block(expands, squeezes).items():
                pairs[f"features.{at}.block.{ours}"] = f"blocks.{s}.{b}.{theirs}"
            at += 1
    last = f"blocks.{len(stages)}.0"
    pairs |= {f"features.{at}.0": f"{last}.conv", f"features.{at}.1": f"{last}.bn1"}
    return pairs | {"classifier.0": "conv_head", "classifier.3": "classifier"}


def mobilenet_v2(stem, last, block, logits):
    """block(s, b, i) gives its names in order: convolution and norm of each step."""
    pairs = dict(zip(("features.0.0", "features.0.1"), stem, strict=True))
    i = 0
    for s, (expansion, repeats) in enumerate(MOBILENET_V2):
        for b in range(repeats):
            ours = ["0.0", "0.1", "1", "2"] if expansion == 1 else ["0.0", "0.1", "1.0", "1.1", "2", "3"]
            pairs |= {f"features.{i + 1}.conv.{o}": t for o, t in zip(ours, block(s, b, i), strict=True)}
            i += 1
    return pairs | dict(zip(("features.18.0", "features.18.1"), last, strict=True)) | {"classifier.1": logits}


def timm_v2_block(s, b, i):
    steps = ["conv_dw", "bn1", "conv_pw", "bn2"] if s == 0 else ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
    return [f"blocks.{s}.{b}.{step}" for step in steps]


def transformers_v2_block(s, b, i):
    steps = ["conv_3x3", "reduce_1x1"] if i == 0 else ["expand_1x1", "conv_3x3", "reduce_1x1"]
    at = "mobilenet_v2.conv_stem" if i == 0 else f"mobilenet_v2.layer.{i - 1}"
    return [f"{at}.{step}.{half}" for step in steps for half in ("convolution", "normalization")]


def halves(at):
    return [f"{at}.convolution", f"{at}.normalization"]


def transformers_efficientnet():
    steps = {
        True: {"0.0": "expansion.expand_conv", "0.1": "expansion.expand_bn", "1.0": "depthwise_conv.depthwise_conv",
               "1.1": "depthwise_conv.depthwise_norm", "2.fc1": "squeeze_excite.reduce",
               "2.fc2": "squeeze_excite.expand", "3.0": "projection.project_conv", "3.1": "projection.project_bn"},
        False: {"0.0": "depthwise_conv.depthwise_conv", "0.1": "depthwise_conv.depthwise_norm",
                "1.fc1": "squeeze_excite.reduce", "1.fc2": "squeeze_excite.expand",
                "2.0": "projection.project_conv", "2.1": "projection.project_bn"},
    }  # fmt: skip
    pairs, i = {"features.0.0": "efficientnet.embeddings.convolution"}, 0
    pairs["features.0.1"] = "efficientnet.embeddings.batchnorm"
    for s, (expansion, repeats) in enumerate(EFFICIENTNET_B0):
        for b in range(repeats):
            for ours, theirs in steps[expansion > 1].items():
                pairs[f"features.{s + 1}.{b}.block.{ours}"] = f"efficientnet.encoder.blocks.{i}.{theirs}"
            i += 1
    top = "efficientnet.encoder.top_"
    return pairs | {"features.8.0": f"{top}conv", "features.8.1": f"{top}bn", "classifier.1": "classifier"}


def convnext(stem, down, block, words, head):
    pairs = dict(zip(("features.0.0", "features.0.1"), stem, strict=True))
    for s, depth in enumerate((3, 3, 9, 3)):
        for b in range(depth):
            ours = ["block.0", "block.2", "block.3", "block.5", "layer_scale"]
            pairs |= {f"features.{2 * s + 1}.{b}.{o}": f"{block(s, b)}.{t}" for o, t in zip(ours, words, strict=True)}
        if s:
            pairs |= {f"features.{2 * s}.{i}": f"{down(s)}.{i}" for i in (0, 1)}
    return pairs | dict(zip(("classifier.0", "classifier.2"), head, strict=True))


def resnet_transformers():
    pairs = dict(zip(("conv1", "bn1"), halves("resnet.embedder.embedder"), strict=True)) | {"fc": "classifier.1"}
    for s, depth in enumerate((3, 4, 6, 3)):
        for b in range(depth):
            ours, theirs = f"layer{s + 1}.{b}", f"resnet.encoder.stages.{s}.layers.{b}"
            for i in range(3):
                pairs |= dict(
                    zip((f"{ours}.conv{i + 1}", f"{ours}.bn{i + 1}"), halves(f"{theirs}.layer.{i}"), strict=True)
                )
            if b == 0:
                pairs |= dict(
                    zip((f"{ours}.downsample.0", f"{ours}.downsample.1"), halves(f"{theirs}.shortcut"), strict=True)
                )
    return pairs


VGG16 = [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
NETS = {
    ("timm", "efficientnet"): timm_efficientnet(),
    ("timm", "mobilenet_v2"): mobilenet_v2(("conv_stem", "bn1"), ("conv_head", "bn2"), timm_v2_block, "classifier"),
    ("timm", "mobilenet_v3"): timm_mobilenet_v3(V3_LARGE),
    ("timm", "mobilenet_v3", "small"): timm_mobilenet_v3(V3_SMALL),
    ("timm", "convnext"): convnext(
        ("stem.0", "stem.1"), lambda s: f"stages.{s}.downsample", lambda s, b: f"stages.{s}.blocks.{b}",
        ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"), ("head.norm", "head.fc"),
    ),
    ("timm", "vgg"): dict(zip(VGG16, VGG16, strict=True))
    | {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"},
    ("timm", "resnet"): {name: name for name in ("conv1", "bn1", "layer1.0.conv1", "layer2.0.downsample.1", "fc")},
    ("timm", "densenet"): {n: n for n in ("features.conv0", "features.denseblock1.denselayer2.norm1", "classifier")},
    ("timm", "inception_v3"): {n: n for n in ("Conv2d_1a_3x3.conv", "Mixed_5b.branch1x1.conv", "fc")},
    ("timm", "repvgg"): {f"{block}.branches.{part}": f"{block}.{part}" for block in ("stem", "stages.2.13")
                         for part in ("conv_kxk.conv", "conv_kxk.bn", "conv_1x1.conv", "conv_1x1.bn", "identity")}
    | {"head.fc": "head.fc"},
    ("transformers", "resnet"): resnet_transformers(),
    ("transformers", "convnext"): convnext(
        ("convnext.embeddings.patch_embeddings", "convnext.embeddings.layernorm"),
        lambda s: f"convnext.encoder.stages.{s}.downsampling_layer",
        lambda s, b: f"convnext.encoder.stages.{s}.layers.{b}",
        ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"), ("convnext.layernorm", "classifier"),
    ),
    ("transformers", "mobilenet_v2"): mobilenet_v2(
        halves("mobilenet_v2.conv_stem.first_conv"), halves("mobilenet_v2.conv_1x1"), transformers_v2_block,
        "classifier",
    ),
    ("transformers", "efficientnet"): transformers_efficientnet(),
}  # fmt: skip


@pytest.mark.parametrize("case", NETS, ids=" ".join)
def test_every_name(case):
    source, family, *_ = case
    pairs = {}
    for ours, theirs in NETS[case].items():
        lone = ours.endswith("layer_scale")  # a parameter itself, not a module
        pairs |= {ours: theirs} if lone else {f"{ours}.{word}": f"{theirs}.{word}" for word in NORM}
    assert family_of(pairs) == family
    assert renamed(pairs, family, TABLES[source][family]) == pairs
    assert len(set(pairs.values())) == len(pairs)


def test_every_table_is_tested():
    tables = {(source, family) for source, families in TABLES.items() for family in families}
    assert tables == {case[:2] for case in NETS}
    assert {family for _, family in tables} == set(SIGNS)
