"""Parameter names of timm and transformers, for each model family.

Sources: pytorch-image-models 1.0 (Wightman, 2019), timm/models/{byobnet,convnext,vgg,efficientnet,mobilenetv3}.py;
transformers 5 (Wolf et al., 2020), models/{resnet,convnext,mobilenet_v2,efficientnet}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["SIGNS", "TABLES", "family_of", "renamed"]

SIGNS = {
    "resnet": r"layer1\.0\.conv1\.weight",
    "convnext": r"features\.\d+\.\d+\.layer_scale",
    "densenet": r"features\.conv0\.weight",
    "mobilenet_v2": r"features\.\d+\.conv\.0\..*",
    "mobilenet_v3": r"features\.\d+\.block\.0\..*",
    "efficientnet": r"features\.\d+\.\d+\.block\.0\..*",
    "vgg": r"features\.0\.weight",
    "inception_v3": r"Mixed_5b\.branch1x1\.conv\.weight",
    "repvgg": r"stem\.branches\.conv_kxk\.conv\.weight",
}
"""A tensor name (a pattern) that identifies each family."""

# ---------------------------------------------------------------- by rules

_CONVNEXT_BLOCK = {"block.0": "conv_dw", "block.2": "norm", "block.3": "mlp.fc1", "block.5": "mlp.fc2"}
_CONVNEXT_WORDS = {"block.0": "dwconv", "block.2": "layernorm", "block.3": "pwconv1", "block.5": "pwconv2"}

# torchvision's features: 0 is the stem, odd ones are stages, even ones the downsampling between them.
_CONVNEXT_TIMM = {
    r"features\.0\.(\d)": r"stem.\1",
    **{rf"features\.{2 * s + 1}\.(\d+)\.{re.escape(a)}": rf"stages.{s}.blocks.\1.{b}"
       for s in range(4) for a, b in _CONVNEXT_BLOCK.items()},
    **{rf"features\.{2 * s + 1}\.(\d+)\.layer_scale": rf"stages.{s}.blocks.\1.gamma" for s in range(4)},
    **{rf"features\.{2 * s}\.(\d)": rf"stages.{s}.downsample.\1" for s in range(1, 4)},
    r"classifier\.0": "head.norm",
    r"classifier\.2": "head.fc",
}  # fmt: skip
_CONVNEXT_TRANSFORMERS = {
    r"features\.0\.0": "convnext.embeddings.patch_embeddings",
    r"features\.0\.1": "convnext.embeddings.layernorm",
    **{rf"features\.{2 * s + 1}\.(\d+)\.{re.escape(a)}": rf"convnext.encoder.stages.{s}.layers.\1.{b}"
       for s in range(4) for a, b in _CONVNEXT_WORDS.items()},
    **{rf"features\.{2 * s + 1}\.(\d+)\.layer_scale": rf"convnext.encoder.stages.{s}.layers.\1.layer_scale_parameter"
       for s in range(4)},
    **{rf"features\.{2 * s}\.(\d)": rf"convnext.encoder.stages.{s}.downsampling_layer.\1" for s in range(1, 4)},
    r"classifier\.0": "convnext.layernorm",
    r"classifier\.2": "classifier",
}  # fmt: skip
_RESNET_TRANSFORMERS = {
    r"conv1": "resnet.embedder.embedder.convolution",
    r"bn1": "resnet.embedder.embedder.normalization",
    **{
        rf"layer{s + 1}\.(\d+)\.{a}": rf"resnet.encoder.stages.{s}.layers.\1.{b}"
        for s in range(4)
        for a, b in {
            **{f"conv{i + 1}": f"layer.{i}.convolution" for i in range(3)},
            **{f"bn{i + 1}": f"layer.{i}.normalization" for i in range(3)},
            r"downsample\.0": "shortcut.convolution",
            r"downsample\.1": "shortcut.normalization",
        }.items()
    },
    r"fc": "classifier.1",
}
_REPVGG_TIMM = {r"(.+)\.branches\.(.+)": r"\1.\2"}
_VGG_TIMM = {r"classifier\.0": "pre_logits.fc1", r"classifier\.3": "pre_logits.fc2", r"classifier\.6": "head.fc"}

# ---------------------------------------------------------------- inverted residual blocks

# By what they do; `blocks` below finds that out. {s}.{b} counts in stages, {i} through them all.
_TIMM_BLOCKS = {
    "stem.conv": "conv_stem", "stem.norm": "bn1", "last.conv": "conv_head", "last.norm": "bn2", "logits": "classifier",
    "block.expand.conv": "blocks.{s}.{b}.conv_pw", "block.expand.norm": "blocks.{s}.{b}.bn1",
    "block.depthwise.conv": "blocks.{s}.{b}.conv_dw", "block.depthwise.norm": "blocks.{s}.{b}.bn2",
    "block.fc1": "blocks.{s}.{b}.se.conv_reduce", "block.fc2": "blocks.{s}.{b}.se.conv_expand",
    "block.project.conv": "blocks.{s}.{b}.conv_pwl", "block.project.norm": "blocks.{s}.{b}.bn3",
    "plain.depthwise.conv": "blocks.{s}.{b}.conv_dw", "plain.depthwise.norm": "blocks.{s}.{b}.bn1",
    "plain.fc1": "blocks.{s}.{b}.se.conv_reduce", "plain.fc2": "blocks.{s}.{b}.se.conv_expand",
    "plain.project.conv": "blocks.{s}.{b}.conv_pw", "plain.project.norm": "blocks.{s}.{b}.bn2",
}  # fmt: skip
_TIMM_V3 = _TIMM_BLOCKS | {
    "last.conv": "blocks.{s}.0.conv", "last.norm": "blocks.{s}.0.bn1", "hidden": "conv_head",
}  # fmt: skip
_EFFICIENTNET_TRANSFORMERS = {
    "stem.conv": "efficientnet.embeddings.convolution", "stem.norm": "efficientnet.embeddings.batchnorm",
    "last.conv": "efficientnet.encoder.top_conv", "last.norm": "efficientnet.encoder.top_bn", "logits": "classifier",
    **{f"{kind}.{ours}": f"efficientnet.encoder.blocks.{{i}}.{theirs}" for kind in ("block", "plain")
       for ours, theirs in {
           "expand.conv": "expansion.expand_conv", "expand.norm": "expansion.expand_bn",
           "depthwise.conv": "depthwise_conv.depthwise_conv", "depthwise.norm": "depthwise_conv.depthwise_norm",
           "fc1": "squeeze_excite.reduce", "fc2": "squeeze_excite.expand",
           "project.conv": "projection.project_conv", "project.norm": "projection.project_bn",
       }.items()},
}  # fmt: skip
_HALVES = {"conv": "convolution", "norm": "normalization"}
_MOBILENET_V2_TRANSFORMERS = {
    "logits": "classifier",
    **{f"stem.{a}": f"mobilenet_v2.conv_stem.first_conv.{b}" for a, b in _HALVES.items()},
    **{f"last.{a}": f"mobilenet_v2.conv_1x1.{b}" for a, b in _HALVES.items()},
    **{f"plain.depthwise.{a}": f"mobilenet_v2.conv_stem.conv_3x3.{b}" for a, b in _HALVES.items()},
    **{f"plain.project.{a}": f"mobilenet_v2.conv_stem.reduce_1x1.{b}" for a, b in _HALVES.items()},
    **{f"block.{ours}.{a}": f"mobilenet_v2.layer.{{i1}}.{theirs}.{b}" for a, b in _HALVES.items()
       for ours, theirs in {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}.items()},
}  # fmt: skip

TABLES: dict[str, dict[str, Mapping[str, str]]] = {
    "timm": {
        "resnet": {}, "densenet": {}, "convnext": _CONVNEXT_TIMM, "vgg": _VGG_TIMM, "mobilenet_v2": _TIMM_BLOCKS,
        "mobilenet_v3": _TIMM_V3, "efficientnet": _TIMM_BLOCKS, "inception_v3": {}, "repvgg": _REPVGG_TIMM,
    },
    "transformers": {
        "resnet": _RESNET_TRANSFORMERS, "convnext": _CONVNEXT_TRANSFORMERS,
        "mobilenet_v2": _MOBILENET_V2_TRANSFORMERS, "efficientnet": _EFFICIENTNET_TRANSFORMERS,
    },
}  # fmt: skip
"""{source: {family: {pattern of our module: theirs}}}; keys for inverted residual blocks are roles in the block."""

# Blocks per stage, for nets that torchvision numbers without stages, by the number of blocks.
_STAGES = {17: (1, 2, 3, 4, 3, 3, 1), 15: (1, 2, 3, 4, 2, 3), 11: (1, 2, 3, 2, 3)}


def family_of(names: Iterable[str]) -> str | None:
    """The family of a net, recognized by torchvision's names of its tensors.

    >>> family_of(["conv1.weight", "layer1.0.conv1.weight"])
    'resnet'
    """
    names = list(names)
    return next((f for f, sign in SIGNS.items() if any(re.fullmatch(sign, name) for name in names)), None)


def renamed(names: Iterable[str], family: str, table: Mapping[str, str]) -> dict[str, str]:
    """Map torchvision's names of a net's tensors to another source's.

    Args:
      names: all of them.
      family: of the net.
      table: of the source.

    >>> renamed(["fc.weight", "layer1.0.bn2.bias"], "resnet", TABLES["transformers"]["resnet"])["layer1.0.bn2.bias"]
    'resnet.encoder.stages.0.layers.0.layer.1.normalization.bias'
    """
    names = list(names)
    roles = _blocks(names) if family in ("mobilenet_v2", "mobilenet_v3", "efficientnet") else {}
    found = {}
    for name in names:
        module, _, word = name.rpartition(".")
        if module in roles:
            role, numbers = roles[module]
            found[name] = f"{table[role].format(**numbers)}.{word}"
            continue
        for pattern, theirs in table.items() if not roles else ():
            if match := re.fullmatch(pattern, name):  # the name of a tensor itself: layer_scale
                found[name] = match.expand(theirs)
            elif match := re.fullmatch(pattern, module):
                found[name] = f"{match.expand(theirs)}.{word}"
        found.setdefault(name, name)
    return found


def _blocks(names: Iterable[str]) -> dict[str, tuple[str, dict[str, int]]]:
    """The role of each module of a net of inverted residual blocks: {module: (role, its indices)}."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    inner = re.compile(r"features\.(\d+(?:\.\d+)?)\.(?:conv|block)\.(.+)")
    members: dict[str, list[str]] = {}
    for module in modules:
        if match := inner.fullmatch(module):
            members.setdefault(match[1], []).append(match[2])
    places = _places(sorted(members, key=lambda at: [int(n) for n in at.split(".")]))
    last = max((int(m.split(".")[1]) for m in modules if re.fullmatch(r"features\.\d+\.\d", m)), default=0)
    ends = [m for m in modules if m.startswith("classifier.")]
    roles: dict[str, tuple[str, dict[str, int]]] = {}
    for module in modules:
        if match := inner.fullmatch(module):
            roles[module] = (_role(members[match[1]], match[2]), places[match[1]])
        elif match := re.fullmatch(r"features\.(\d+)\.([01])", module):
            half = ("conv", "norm")[int(match[2])]
            stage = 1 + max((place["s"] for place in places.values()), default=-1)
            roles[module] = (f"{'last' if int(match[1]) == last and last else 'stem'}.{half}", {"s": stage})
        elif module in ends:
            roles[module] = ("logits" if module == ends[-1] else "hidden", {})
    return roles


def _places(blocks: list[str]) -> dict[str, dict[str, int]]:
    """For each block: stage s, index b in the stage, index i in the net, and i1 = i - 1."""
    if blocks and "." in blocks[0]:
        pairs = [(int(stage) - 1, int(block)) for stage, block in (at.split(".") for at in blocks)]
    else:
        sizes = _STAGES.get(len(blocks), (len(blocks),))
        pairs = [(stage, block) for stage, size in enumerate(sizes) for block in range(size)]
    return {at: {"s": s, "b": b, "i": i, "i1": i - 1} for i, (at, (s, b)) in enumerate(zip(blocks, pairs, strict=True))}


def _role(parts: list[str], part: str) -> str:
    """The role of a module in its block: an expansion (if there are three convolutions), then the rest in order.

    torchvision's MobileNetV2 ends a block with a bare convolution and its norm, "2" and "3"; elsewhere the two
    are "3.0" and "3.1".
    """
    convs = sorted((p for p in parts if not p.endswith(("fc1", "fc2"))), key=lambda p: [int(n) for n in p.split(".")])
    kind, steps = "plain", ["depthwise", "project"]
    if len(convs) == 6:
        kind, steps = "block", ["expand", *steps]
    if part not in convs:
        return f"{kind}.{part.rpartition('.')[2]}"
    step, half = divmod(convs.index(part), 2)
    return f"{kind}.{steps[step]}.{('conv', 'norm')[half]}"
