"""Weights that do not fit a net: whole messages, with what to do."""

import functools

import jax
import numpy as np
import pytest
from support.weights import IMAGES, NET, named, weights_of

import jaxconv as jc
from jaxconv import port
from jaxconv._base.errors import ConfigError
from jaxconv.port.weights import match


def changed(rng, changes):
    """The weights with some of another shape, left out (None) or added."""
    weights = weights_of("stem", "head", rng) | {n: shape and np.zeros(shape) for n, shape in changes.items()}
    return {name: array for name, array in weights.items() if array is not None}


MESSAGES = {
    "all at once": (
        {"stem.0.weight": (3, 3, 3, 4), "stem.1.bias": None, "extra.weight": (3,)}, {},
        """\
the state dict does not fit this net: 1 missing, 1 unexpected, 1 of another shape; 5 of 7 leaves fit, nothing was loaded
  fix: stem/0/kernel and the like are not in torch's order of axes (unrecognizable if all axes have one \
length): transpose all of them, or use the file that torch itself wrote
  ! stem/0/kernel  expected stem.0.weight [4, 3, 3, 3], got [3, 3, 3, 4]: looks like HWIO, which is our order, where \
torch's is OIHW
  + stem/1/bias  expected stem.1.bias [4], missing
  - extra.weight  unexpected: not in this net""",
    ),
    "rows and columns": (
        {"head.weight": (4, 2)}, {},
        """\
the state dict does not fit this net: 1 of another shape; 6 of 7 leaves fit, nothing was loaded
  fix: head/kernel and the like are not in torch's order of axes (unrecognizable if all axes have one length): \
transpose all of them, or use the file that torch itself wrote
  ! head/kernel  expected head.weight [2, 4], got [4, 2]: looks like IO, which is our order, where torch's is OI""",
    ),
    "as many numbers": (
        {"stem.0.weight": (4, 27)}, {},
        """\
the state dict does not fit this net: 1 of another shape; 6 of 7 leaves fit, nothing was loaded
  ! stem/0/kernel  expected stem.0.weight [4, 3, 3, 3], got [4, 27]""",
    ),
    "classes": (
        {"head.weight": (10, 4), "head.bias": (10,)}, {},
        """\
the state dict does not fit this net: 2 of another shape; 5 of 7 leaves fit, nothing was loaded
  fix: head has 10 outputs there and 2 here: num_classes=10, or skip='head', key=…
  ! head/bias  expected head.bias [2], got [10]
  ! head/kernel  expected head.weight [2, 4], got [10, 4]""",
    ),
    "gray images": (
        {}, {"x": (1, 6, 6, 1)},
        """\
the state dict does not fit this net: 1 of another shape; 6 of 7 leaves fit, nothing was loaded
  fix: stem/0 takes 3 channels there and 1 here: images of 3 channels (jnp.repeat(x, 3, -1) of gray ones), or \
skip='stem/0/kernel', key=…
  ! stem/0/kernel  expected stem.0.weight [4, 1, 3, 3], got [4, 3, 3, 3]""",
    ),
    "left over alone": (
        {"aux.0.weight": (3,), "fc": (2,)}, {},
        """\
the state dict does not fit this net: 2 unexpected; 7 of 7 leaves fit, nothing was loaded
  fix: ignore=['aux', 'fc*'] if the net needs none of the unexpected keys
  - aux.0.weight  unexpected: not in this net
  - fc  unexpected: not in this net""",
    ),
    "missing alone": (
        {"head.weight": None, "head.bias": None}, {},
        """\
the state dict does not fit this net: 2 missing; 5 of 7 leaves fit, nothing was loaded
  fix: skip='head', key=… initializes the missing keys randomly
  + head/bias  expected head.bias [2], missing
  + head/kernel  expected head.weight [2, 4], missing""",
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
source 'timm' knows the names of resnet, densenet, convnext, vgg, mobilenet_v2, mobilenet_v3, efficientnet, \
inception_v3, repvgg; this net is none of them
  fix: a mapping of our paths to their names, {'head/bias': '…'}""",
    ),
    "no key": (
        {}, {"skip": "head"}, "skip initializes weights randomly, and needs a key\n  fix: key=jax.random.key(0)",
    ),
    "a pattern to skip": (
        {}, {"skip": "haed", "key": 0},
        "skip must match at least one of head/bias, head/kernel, stem/0/kernel, stem/1/bias, stem/1/scale, "
        "stem/1/mean, stem/1/var; got 'haed'; did you mean 'head'?",
    ),
    "a pattern to ignore": (
        {}, {"ignore": "fc"},
        "ignore must match at least one of stem.0.weight, stem.1.weight, stem.1.bias, stem.1.running_mean, "
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
        "  fix: 1 takes 75 values there and 48 here: x= the input shape of the training"
    )


def test_a_word_before_every_name(rng):
    weights = {f"backbone.{name}": array for name, array in weights_of("stem", "head", rng).items()}
    with pytest.raises(port.PortError) as caught:
        port.load(NET, weights, x=IMAGES)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        "the state dict does not fit this net: 7 missing, 7 unexpected; 0 of 7 leaves fit, nothing was loaded",
        "  fix: source={'': 'backbone'}: every name of this net is there, with the prefix 'backbone'",
    ]
    assert len(lines) == 16


def test_params_of_a_run_of_another_net(rng):
    weights = {"params/head/kernel": rng.normal(size=(6, 5)), "state/other/mean": rng.normal(size=3)}
    with pytest.raises(port.PortError) as caught:
        port.load(NET, weights, x=IMAGES)
    text = str(caught.value)
    assert "expected head.weight [2, 4], got [5, 6]" in text  # in torch's order
    assert "- other.mean  unexpected: not in this net" in text


def test_a_state_dict_of_another_net(rng):
    with pytest.raises(port.PortError) as caught:
        port.load(NET, {"encoder.weight": rng.normal(size=(3, 3))}, x=IMAGES)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "the state dict does not fit this net: 7 missing, 1 unexpected; 0 of 7 leaves fit, nothing was loaded"
    )
    assert lines[-1] == "  - encoder.weight  unexpected: not in this net"
    assert len(lines) == 9


def test_layouts_are_told_by_name():
    leaf = functools.partial(match.Leaf, ("kernel",), dtype="float32", statistic=False, orders={}, maps={})
    conv, up = leaf(kind="conv", shape=(3, 2, 4, 8)), leaf(kind="conv_transpose", shape=(3, 2, 4, 8))
    for came, words in {(8, 3, 2, 4): "OHWI", (4, 8, 3, 2): "IOHW", (8, 4, 2, 3): "OIWH", (3, 2, 8, 4): "HWOI"}.items():
        assert match.layout(conv, came) == f"looks like {words} where torch's order is OIHW"
    assert match.layout(up, (3, 2, 4, 8)) == "looks like HWOI, which is our order, where torch's is IOHW"
    assert match.layout(conv, (8, 4, 6)) == ""


VALUES = {
    "int64": (lambda a: a.astype(np.int64), "expected floating point, got int64"),
    "bool": (lambda a: a > 0, "expected floating point, got bool"),
    "complex": (lambda a: a + 1j, "expected floating point, got complex128"),
    "text": (lambda a: a.astype("U8"), "expected floating point, got <U8"),
    "datetime": (lambda a: a.astype("M8[s]"), "expected floating point, got datetime64[s]"),
    "void": (lambda a: a.astype("f4").view("V4"), "expected floating point, got |V4"),
    "nan": (lambda a: np.where(a == a.max(), np.nan, a), "expected finite values, got 1 of 8 that are NaN or infinite"),
    "inf": (lambda a: np.where(a == a.max(), -np.inf, a),
            "expected finite values, got 1 of 8 that are NaN or infinite"),
    "large": (lambda a: np.where(a == a.max(), 1e300, a),
              "expected values up to 3.4e+38, the largest of float32, got 1 beyond"),
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_values_that_are_no_weights(rng, kind):
    change, problem = VALUES[kind]
    weights = weights_of("stem", "head", rng)
    weights["head.weight"] = change(weights["head.weight"].astype(np.float64))
    with pytest.raises(port.PortError) as caught:
        port.load(NET, weights, x=IMAGES)
    assert str(caught.value) == (
        "the state dict does not fit this net: 1 with invalid values; 6 of 7 leaves fit, nothing was "
        f"loaded\n  ! head/kernel  head.weight: {problem}"
    )


def test_a_statistic_of_nan_and_what_the_net_does_not_need(rng):
    weights = weights_of("stem", "head", rng)
    more = {"stem.1.num_batches_tracked": np.array(3), "relative_position_index": np.ones(3, bool)}
    named = weights | more | {"aux.weight": np.full(3, np.nan), "aux.code": np.array("x")}
    params, _ = port.load(NET, named, x=IMAGES, ignore="aux")
    np.testing.assert_array_equal(params["head"]["bias"], weights["head.bias"])
    name = next(name for name in weights if name.endswith("running_var"))
    weights[name] = weights[name] + np.inf
    with pytest.raises(port.PortError, match=r"running_var: expected finite values, got 4 of 4 that are NaN or inf"):
        port.load(NET, weights, x=IMAGES)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, jax.numpy.bfloat16])
def test_other_widths_are_converted(rng, dtype):
    weights = weights_of("stem", "head", rng)
    wide = {name: np.asarray(array).astype(dtype) for name, array in weights.items()}
    params, _ = port.load(NET, wide, x=IMAGES)
    want = wide["head.weight"].astype(np.float32).T
    assert params["head"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(params["head"]["kernel"], want)
