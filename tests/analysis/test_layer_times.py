"""Times and formulations of layers: every leaf layer once, in order, with the engine's own choice."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.analysis import layer_times as module
from jaxconv.analysis.formulations import formulations
from jaxconv.analysis.layer_times import layer_times
from jaxconv.analysis.summary import summary
from jaxconv.engine import native
from jaxconv.explain.outputs import output_structs

SHAPE = (2, 12, 11, 3)


def block():
    return jc.chain(jc.Conv(8, 3, padding=1), jc.BatchNorm(), jax.nn.relu)


def net():
    return jc.chain(
        block(), block(), jc.MaxPool(2), jc.residual(jc.Conv(8, 1)), jc.Dropout(0.5), jc.flatten, jc.Dense(5)
    )


def measured(net, shape=SHAPE, **words):
    params, state = jax.jit(lambda: net.init(jax.random.key(0), shape))()
    return layer_times(net, params, state, shape, **words)


@pytest.fixture(scope="module")
def found():
    return measured(net(), seconds=60)


@pytest.mark.slow
def test_every_layer_in_order_with_the_paths_of_the_summary(found):
    params, state = net().init(jax.random.key(0), SHAPE)
    x = jax.ShapeDtypeStruct(SHAPE, "float32")
    assert [each.path for each in found] == list(output_structs(net(), params, state, x))
    convs = {row.path for row in summary(net(), SHAPE).rows if row.macs}
    assert convs <= {each.path for each in found}


@pytest.mark.slow
def test_times_are_positive_and_the_first_layer_needs_no_gradient_of_its_input(found):
    assert all(each.forward > 0 for each in found)
    assert all(each.backward > 0 for each in found)
    alone = measured(jc.chain(jax.nn.relu, jc.Dense(2)), (2, 3), seconds=60)
    assert alone[0].backward is None
    assert alone[1].backward > 0


@pytest.mark.slow
def test_formulations_are_the_engines_choice(found):
    by_path = {each.path: each.formulations for each in found}
    first, second = (next(v for k, v in by_path.items() if k.startswith(f"chain{i}/conv")) for i in (0, 1))
    assert set(first) == {"y", "k"}  # no gradient of the images
    assert set(second) == {"y", "x", "k"}
    if native.available():
        assert second["y"] in ("native", "winograd")
        assert by_path["chain0/batch_norm0"] == {"y": "native", "x": "native"}
        pool = jc.chain(jax.nn.relu, jc.MaxPool(2))
        assert measured(pool, (2, 12, 12, 64), seconds=0)[1].formulations == {"y": "native"}
    assert by_path["chain0/relu0"] == by_path["flatten0"] == {}
    with jc.engine.using(impl="dots"):
        chosen = measured(jc.chain(jax.nn.relu, jc.Conv(8, 3)), seconds=0)[1].formulations
    assert chosen == {"y": "dots", "x": "dots", "k": "dots"}


def test_without_time_nothing_is_measured_but_formulations_are_known():
    began = time.perf_counter()
    found = measured(jc.chain(jc.Conv(4, 3), jc.Conv(4, 3)), seconds=0)
    assert [(each.forward, each.backward) for each in found] == [(None, None)] * 2
    assert all(each.formulations["y"] for each in found)
    assert time.perf_counter() - began < 30


def test_equal_layers_are_measured_once(monkeypatch):
    runs = []
    monkeypatch.setattr(module, "_seconds", lambda run, arguments: runs.append(run) or float(len(runs)))
    found = measured(jc.chain(*[jc.Conv(3, 3, padding=1) for _ in range(4)]), seconds=60)
    assert len(runs) == 3  # forward, backward of the first, backward of the others
    assert found[1].backward == found[3].backward != found[0].backward


@pytest.mark.slow
def test_the_most_expensive_layer_is_first(monkeypatch):
    shapes = []
    monkeypatch.setattr(module, "_seconds", lambda run, arguments: shapes.append(arguments[2].shape) or 1.0)
    measured(jc.chain(jc.Conv(2, 1), jc.Conv(64, 5), jc.flatten, jc.Dense(2)), (1, 16, 16, 3), seconds=60)
    assert shapes[0] == (1, 16, 16, 2)


@pytest.mark.slow
def test_a_layer_called_twice_and_several_inputs():
    def flow(call, x):
        return call("sum", [call("a", x), call("a", call("a", x))])

    twice = jc.compose("twice", {"a": jc.Conv(3, 3, padding=1), "sum": lambda pair: pair[0] + pair[1]}, flow)
    assert [each.path for each in measured(twice)] == ["a", "a#2", "a#3", "sum"]


@pytest.mark.slow
def test_a_changed_layer_is_measured_in_its_precision(monkeypatch):
    texts = []
    monkeypatch.setattr(module, "_seconds", lambda run, arguments: texts.append(run.as_text()) or 1.0)
    measured(jc.chain(jc.Conv(4, 3)), change=lambda layer: jc.cast(layer, jnp.bfloat16), seconds=60)
    assert texts
    assert all("bf16" in text for text in texts)


def test_inner_programs_are_searched():
    def step(k):
        def body(x, _):
            return jax.jit(lambda x, k: jc.conv(x, k, padding=1))(x, k), None

        return jax.lax.scan(body, jnp.ones((1, 8, 8, 2)), None, 3)[0].sum()

    found = formulations(jax.make_jaxpr(jax.grad(step))(jnp.ones((3, 3, 2, 2))))
    assert set(found) == {"y", "x", "k"}
    plain = jax.make_jaxpr(lambda x: x @ x)(np.ones((4, 4), np.float32))
    assert formulations(plain) == {}
