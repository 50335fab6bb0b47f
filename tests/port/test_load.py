"""Weights of torch in our layers: values as torch's, every way to name them, whole messages of what does not fit."""

import functools

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import port
from jaxconv.errors import ConfigError

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)


def last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1) if tensor.ndim > 2 else tensor.detach().numpy()


def randomised(module, rng):
    """A module in evaluation, with random weights and statistics."""
    with torch.no_grad():
        for tensor in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
            tensor.copy_(torch.tensor(rng.uniform(0.5, 1.5, tuple(tensor.shape)) * rng.choice([1, 1.5])))
        for weight in module.parameters():
            weight.copy_(torch.tensor(rng.normal(size=tuple(weight.shape))))
    return module.eval()


def assert_same(net, module, shape, rng, assert_close, **words):
    """Loads the module's weights by name, and holds what comes out to torch's."""
    x = rng.normal(size=shape).astype(np.float32)
    params, state = port.load(net, module.state_dict(), x=shape, **words)
    want = last(module(torch.tensor(np.moveaxis(x, -1, 1).copy())))
    assert_close(net.apply(params, state, x)[0], want, tolerance=2e-5)


def named(*layers):
    return jc.chain(**{str(i): layer for i, layer in enumerate(layers)})


LAYERS = {
    "conv": (jc.Conv(6, (3, 2), stride=2, padding=1), nn.Conv2d(4, 6, (3, 2), 2, 1), (2, 7, 5, 4)),
    "conv 1d": (jc.Conv(6, (3,), bias=False), nn.Conv1d(4, 6, 3, bias=False), (2, 7, 4)),
    "conv 3d": (jc.Conv(3, (1, 2, 3)), nn.Conv3d(2, 3, (1, 2, 3)), (1, 3, 4, 5, 2)),
    "grouped": (jc.Conv(6, 3, groups=2), nn.Conv2d(4, 6, 3, groups=2), (2, 5, 4, 4)),
    "depthwise": (jc.DepthwiseConv(3, multiplier=2), nn.Conv2d(4, 8, 3, groups=4), (2, 5, 4, 4)),
    "transposed": (jc.ConvTranspose(3, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, 2, 1), (2, 3, 4, 4)),
    "transposed 1d": (jc.ConvTranspose(6, (4,), groups=2), nn.ConvTranspose1d(4, 6, 4, groups=2), (2, 5, 4)),
    "transposed 3d": (jc.ConvTranspose(3, (2, 1, 3)), nn.ConvTranspose3d(2, 3, (2, 1, 3)), (1, 2, 2, 2, 2)),
    "adjoint": (jc.adjoint(jc.Conv(4, 3, stride=2), (1, 7, 5, 3)), nn.ConvTranspose2d(4, 3, 3, 2), (2, 3, 2, 4)),
    "adjoint of a dense": (jc.adjoint(jc.Dense(4), (1, 3)), nn.Linear(4, 3), (2, 4)),
    "dense": (jc.Dense(3), nn.Linear(4, 3), (5, 4)),
    "batch norm": (jc.BatchNorm(), nn.BatchNorm2d(4), (2, 3, 2, 4)),
    "batch norm without weights": (jc.BatchNorm(scale=False, bias=False), nn.BatchNorm1d(4, affine=False), (5, 4)),
    "group norm": (jc.GroupNorm(2), nn.GroupNorm(2, 4), (2, 3, 2, 4)),
    "layer norm": (jc.LayerNorm(), nn.LayerNorm(4), (5, 4)),
    "instance norm": (jc.InstanceNorm(), nn.InstanceNorm2d(4, affine=True), (2, 3, 2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case, rng, assert_close):
    layer, module, shape = LAYERS[case]
    assert_same(named(layer), nn.Sequential(randomised(module, rng)), shape, rng, assert_close)
    assert_same(layer, module, shape, rng, assert_close)  # a net that is one layer has no name before its leaves'


def test_a_head_behind_a_flatten(rng, assert_close):
    ours = named(
        jc.Conv(4, 3), jax.nn.relu, jc.flatten, jc.Dropout(0.5), jc.BatchNorm(), jc.Dense(5), jax.nn.relu, jc.Dense(2)
    )
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.BatchNorm1d(48), nn.Linear(48, 5), nn.ReLU(),
        nn.Linear(5, 2),
    )  # fmt: skip
    assert_same(ours, randomised(theirs, rng), (2, 6, 5, 3), rng, assert_close)


def test_what_repeat_stacks(rng, assert_close):
    block = jc.remat(named(jc.Conv(3, 3, padding=1), jc.BatchNorm(), jax.nn.relu))
    theirs = [[nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()) for _ in "ab"] for _ in "abc"]
    twice = nn.Sequential(*(nn.Sequential(*pair) for pair in theirs), nn.Conv2d(3, 2, 1))
    ours = jc.chain(stage=jc.repeat(jc.repeat(block, 2), 3), out=jc.remat(jc.Conv(2, 1)))
    source = {"stage": "", "out": "3"}
    assert_same(ours, randomised(twice, rng), (2, 5, 4, 3), rng, assert_close, source=source)
    params, state = port.load(ours, twice, source, x=(1, 5, 4, 3))
    back = port.state_dict(ours, params, state, source, x=(1, 5, 4, 3), like=twice)
    for name, tensor in twice.state_dict().items():
        assert name.endswith("tracked") or np.array_equal(back[name], tensor.numpy()), name


def test_a_decoder(rng, assert_close):
    ours = named(jc.Dense(24), jax.nn.relu, lambda x: x.reshape(-1, 2, 3, 4), jc.ConvTranspose(2, 3))
    theirs = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3)), nn.ConvTranspose2d(4, 2, 3))
    assert_same(ours, randomised(theirs, rng), (2, 5), rng, assert_close)


def test_a_dense_layer_is_a_convolution_of_one_cell_and_one_of_all(rng):
    weights = {name: rng.normal(size=shape) for name, shape in [("0.weight", (5, 3, 1, 1)), ("0.bias", (5,))]}
    params, _ = port.load(named(jc.Dense(5)), weights, x=(1, 4, 4, 3))
    np.testing.assert_array_equal(params["0"]["kernel"], weights["0.weight"][:, :, 0, 0].T.astype(np.float32))
    params, _ = port.load(named(jc.Conv(5, 1)), weights | {"0.weight": weights["0.weight"][..., 0, 0]}, x=(1, 4, 4, 3))
    np.testing.assert_array_equal(params["0"]["kernel"][0, 0], weights["0.weight"][:, :, 0, 0].T.astype(np.float32))
    whole = {"1.weight": rng.normal(size=(5, 3, 2, 4)), "1.bias": weights["0.bias"]}
    params, _ = port.load(named(jc.flatten, jc.Dense(5)), whole, x=(1, 2, 4, 3))
    want = np.moveaxis(whole["1.weight"], (0, 1), (-1, -2)).reshape(24, 5)
    np.testing.assert_array_equal(params["1"]["kernel"], want.astype(np.float32))


def test_types_are_the_nets_own(rng):
    weights = {"0.weight": rng.normal(size=(5, 3)), "0.bias": torch.ones(5, dtype=torch.bfloat16)}
    for dtype in ("float32", "bfloat16"):
        params, _ = port.load(named(jc.Dense(5)), weights, x=jax.ShapeDtypeStruct((1, 3), dtype))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}


# ---------------------------------------------------------------- names

NET = jc.chain(stem=named(jc.Conv(4, 3, bias=False), jc.BatchNorm()), pool=jc.global_avg_pool, head=jc.Dense(2))
SHAPES = {"0.weight": (4, 3, 3, 3), **{f"1.{w}": (4,) for w in ("weight", "bias", "running_mean", "running_var")}}
IMAGES = (1, 6, 6, 3)


def weights_of(stem, head, rng):
    shapes = {f"{stem}.{name}": shape for name, shape in SHAPES.items()}
    shapes |= {f"{head}.weight": (2, 4), f"{head}.bias": (2,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


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
    ids=str,
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
    params, _ = port.load(jc.features(NET, upto="stem"), weights, x=IMAGES, ignore="head.*")
    assert set(params) == {"stem"}


# ---------------------------------------------------------------- what does not fit


def changed(rng, changes):
    """The weights with some of another shape, left out (None) or added."""
    weights = weights_of("stem", "head", rng) | {n: shape and np.zeros(shape) for n, shape in changes.items()}
    return {name: array for name, array in weights.items() if array is not None}


MESSAGES = {
    "all at once": (
        {"stem.0.weight": (3, 3, 3, 4), "stem.1.bias": None, "extra.weight": (3,)}, {},
        """\
the state dict does not fit this net: 1 missing, 1 left over, 1 of another shape; 5 of 7 leaves fit, nothing was loaded
  fix: stem/0/kernel and the like are not in torch's order of axes (those of one length all round cannot be told \
apart): turn all of them before, or take the file that torch itself wrote
  ! stem/0/kernel  wants stem.0.weight [4, 3, 3, 3], found [3, 3, 3, 4]: looks like HWIO, which is our order, where \
torch's is OIHW
  + stem/1/bias  wants stem.1.bias [4], not there
  - extra.weight  not in this net""",
    ),
    "rows and columns": (
        {"head.weight": (4, 2)}, {},
        """\
the state dict does not fit this net: 1 of another shape; 6 of 7 leaves fit, nothing was loaded
  fix: head/kernel and the like are not in torch's order of axes (those of one length all round cannot be told apart): \
turn all of them before, or take the file that torch itself wrote
  ! head/kernel  wants head.weight [2, 4], found [4, 2]: looks like IO, which is our order, where torch's is OI""",
    ),
    "as many numbers": (
        {"stem.0.weight": (4, 27)}, {},
        """\
the state dict does not fit this net: 1 of another shape; 6 of 7 leaves fit, nothing was loaded
  ! stem/0/kernel  wants stem.0.weight [4, 3, 3, 3], found [4, 27]""",
    ),
    "classes": (
        {"head.weight": (10, 4), "head.bias": (10,)}, {},
        """\
the state dict does not fit this net: 2 of another shape; 5 of 7 leaves fit, nothing was loaded
  fix: head has 10 outputs there and 2 here: classes=10, or skip='head', key=…
  ! head/bias  wants head.bias [2], found [10]
  ! head/kernel  wants head.weight [2, 4], found [10, 4]""",
    ),
    "grey images": (
        {}, {"x": (1, 6, 6, 1)},
        """\
the state dict does not fit this net: 1 of another shape; 6 of 7 leaves fit, nothing was loaded
  fix: stem/0 takes 3 channels there and 1 here: images of 3 channels (jnp.repeat(x, 3, -1) of grey ones), or \
skip='stem/0/kernel', key=…
  ! stem/0/kernel  wants stem.0.weight [4, 1, 3, 3], found [4, 3, 3, 3]""",
    ),
    "left over alone": (
        {"aux.0.weight": (3,), "fc": (2,)}, {},
        """\
the state dict does not fit this net: 2 left over; 7 of 7 leaves fit, nothing was loaded
  fix: ignore=['aux', 'fc*'] where the net needs none of what is left over
  - aux.0.weight  not in this net
  - fc  not in this net""",
    ),
    "missing alone": (
        {"head.weight": None, "head.bias": None}, {},
        """\
the state dict does not fit this net: 2 missing; 5 of 7 leaves fit, nothing was loaded
  fix: skip='head', key=… draws what is missing anew
  + head/bias  wants head.bias [2], not there
  + head/kernel  wants head.weight [2, 4], not there""",
    ),
    "a key that fits nothing": (
        {}, {"source": {"stm": "a", "head": "head"}},
        """\
every key of source must fit a path of this net
  got: 'stm'; did you mean 'stem'?
  fix: paths here: head/bias, head/kernel, stem/0/kernel, stem/1/bias, stem/1/scale, stem/1/mean, stem/1/var""",
    ),
    "a key that is no expression": (
        {}, {"source": {"(stem": "a"}},
        "a key of source must be a path or a regular expression; got '(stem': missing ), unterminated subpattern at "
        "position 0",
    ),
    "a function without an answer": (
        {}, {"source": lambda path: None}, "source must give a name for every path; for 'head/bias' it gave None",
    ),
    "a source": (
        {}, {"source": "torchvison"},
        "source must be torchvision, timm, transformers, a mapping of our paths to their names, or a function; got "
        "'torchvison'; did you mean 'torchvision'?",
    ),
    "a net that timm has not": (
        {}, {"source": "timm"},
        """\
source 'timm' knows the names of resnet, densenet, convnext, vgg, mobilenet_v2, mobilenet_v3, efficientnet; this net \
is none of them
  fix: a mapping of our paths to their names, {'head/bias': '…'}""",
    ),
    "no key": (
        {}, {"skip": "head"}, "skip leaves weights as init draws them, and needs a key\n  fix: key=jax.random.key(0)",
    ),
    "a pattern to skip": (
        {}, {"skip": "haed", "key": 0},
        "skip must fit at least one of head/bias, head/kernel, stem/0/kernel, stem/1/bias, stem/1/scale, stem/1/mean, "
        "stem/1/var; got 'haed'; did you mean 'head'?",
    ),
    "a pattern to ignore": (
        {}, {"ignore": "fc"},
        "ignore must fit at least one of stem.0.weight, stem.1.weight, stem.1.bias, stem.1.running_mean, "
        "stem.1.running_var, head.weight, head.bias; got 'fc'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case, rng):
    changes, words, message = MESSAGES[case]
    with pytest.raises(ConfigError) as caught:
        port.load(NET, changed(rng, changes), **{"x": IMAGES} | words)
    assert str(caught.value) == message
    assert isinstance(caught.value, port.PortError) == ("nothing was loaded" in message)


def test_another_size_of_images(rng):
    net = named(jc.flatten, jc.Dense(2))
    with pytest.raises(port.PortError) as caught:
        port.load(net, {"1.weight": rng.normal(size=(2, 75)), "1.bias": np.zeros(2)}, x=(1, 4, 4, 3))
    assert str(caught.value).splitlines()[1] == (
        "  fix: 1 takes 75 values there and 48 here: x= of the size that they were trained on"
    )


def test_a_word_before_every_name(rng):
    weights = {f"backbone.{name}": array for name, array in weights_of("stem", "head", rng).items()}
    with pytest.raises(port.PortError) as caught:
        port.load(NET, weights, x=IMAGES)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        "the state dict does not fit this net: 7 missing, 7 left over; 0 of 7 leaves fit, nothing was loaded",
        "  fix: source={'': 'backbone'}: every name of this net is there, with 'backbone' before it",
    ]
    assert len(lines) == 16


def test_a_state_dict_of_another_net(rng):
    with pytest.raises(port.PortError) as caught:
        port.load(NET, {"encoder.weight": rng.normal(size=(3, 3))}, x=IMAGES)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "the state dict does not fit this net: 7 missing, 1 left over; 0 of 7 leaves fit, nothing was loaded"
    )
    assert lines[-1] == "  - encoder.weight  not in this net"
    assert len(lines) == 9


def test_layouts_are_told_by_name():
    leaf = functools.partial(port.match.Leaf, ("kernel",), dtype="float32", statistic=False, orders={}, maps={})
    conv, up = leaf(kind="conv", shape=(3, 2, 4, 8)), leaf(kind="conv_transpose", shape=(3, 2, 4, 8))
    for came, words in {(8, 3, 2, 4): "OHWI", (4, 8, 3, 2): "IOHW", (8, 4, 2, 3): "OIWH", (3, 2, 8, 4): "HWOI"}.items():
        assert port.match.layout(conv, came) == f"looks like {words} where torch's order is OIHW"
    assert port.match.layout(up, (3, 2, 4, 8)) == "looks like HWOI, which is our order, where torch's is IOHW"
    assert port.match.layout(conv, (8, 4, 6)) == ""
