"""Training on eight devices: the numbers of one device, state in parts, and nothing computed or sent twice."""

import json
import math
import os
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from support import smooth_net
from support.config_text import config_text
from support.streamed import write_streamed

import jaxconv as jc
from jaxconv import run
from jaxconv.data import Arrays
from jaxconv.run import callbacks, config
from jaxconv.run.build import build, check, training_feed
from jaxconv.run.records import read_manifest
from jaxconv.run.sweeps import _shares
from jaxconv.training import evaluation
from jaxconv.training.batches import Resident
from jaxconv.training.devices import make_devices
from jaxconv.training.ensemble import member
from jaxconv.training.loop import compile_steps
from jaxconv.training.progress import Progress
from jaxconv.training.rolling import Checkpoints

CONFIG = config_text(
    {"name": smooth_net.NAME, "width": 8},
    optim={"name": "sgd", "learning_rate": 2e-3, "momentum": 0.9, "ema": 0.9},
    train={"epochs": 1.11, "batch_size": 32, "log_every": 1, "eval_every": 0},
)
SHORT = config_text(
    {"features": [8], "kernel_size": 3, "hidden": [16], "batch_norm": True},
    optim={"name": "adam", "learning_rate": 1e-2},
    train={"epochs": 0.4, "batch_size": 64, "log_every": 1, "eval_every": 0},
)
ZERO1 = 'devices.shard={"*" = "optimizer"}'
LAYOUTS = {
    "data parallel": ["devices.data=8"],
    "FSDP": ["devices.data=1", "devices.fsdp=8"],
    "ZeRO-1": ["devices.data=1", "devices.fsdp=-1", ZERO1],
    "FSDP in two rows": ["devices.data=2", "devices.fsdp=4"],
    "model": ["devices.data=4", "devices.model=2"],
}


pytestmark = pytest.mark.usefixtures("no_pictures")


def settings(tmp_path, *overrides, text=CONFIG):
    path = tmp_path / "net.toml"
    path.write_text(text)
    return config.read(path, overrides)


def losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return np.array([line["loss"] for line in lines if "loss" in line])


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """Losses and parameters of 50 steps of a residual network with batch norm."""
    folder = tmp_path_factory.mktemp("one")
    run.train(settings(folder, "devices.data=1"), folder / "run")
    return losses(folder / "run"), run.load(folder / "run").params


@pytest.mark.slow
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "rows" not in name])  # that is a streamed folder's
def test_losses_of_fifty_steps_are_those_of_one_device(layout, one_device, tmp_path):
    run.train(settings(tmp_path, *LAYOUTS[layout]), tmp_path / "run")
    found, (want, params) = losses(tmp_path / "run"), one_device
    assert len(want) >= 50
    np.testing.assert_allclose(found, want, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), run.load(tmp_path / "run").params, params
    )


@pytest.mark.slow
def test_losses_of_a_streamed_folder_are_those_of_one_device(rng, tmp_path):
    path = write_streamed(tmp_path, rng)
    for name, layout in (("one", ["devices.data=1"]), ("eight", LAYOUTS["FSDP in two rows"])):
        run.train(config.read(path, layout), tmp_path / name)
    want = losses(tmp_path / "one")
    assert len(want) >= 50
    np.testing.assert_allclose(losses(tmp_path / "eight"), want, rtol=1e-5)


def compiled(settings):
    """The program of a config's steps, with the sharded shapes of its state."""
    inputs, model, training = build(settings)
    state = training.devices.structs(check(settings, inputs, model, training))
    feed = training_feed(inputs, settings, training.seeds, 0, training.steps, training.devices)
    return compile_steps(training.step, state, feed, members=training.members), state, feed, training.devices


def state_bytes(state, devices):
    def size(leaf):
        shape = leaf.sharding.shard_shape(leaf.shape) if devices else leaf.shape
        return math.prod(shape) * (8 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize)

    return sum(map(size, jax.tree.leaves(state)))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["data parallel", "FSDP", "ZeRO-1"])
def test_the_compiled_program(layout, tmp_path):
    """Read in its text: no array of a device has the whole batch, and none of its collectives is of images."""
    program, state, feed, devices = compiled(settings(tmp_path, *LAYOUTS[layout], "train.batch_size=104"))
    text = program.as_text()
    images = re.findall(r"\b(?:f32|bf16|u8)\[(\d+),\d+,\d+,\d+\]", text)
    assert "13" in images
    sizes = {int(n) for shape in re.findall(r"\b(?:f32|bf16|u8)\[([\d,]+)\]", text) for n in shape.split(",")}
    assert not sizes & {104, 104 * 4 * 4, 104 * 8 * 8}  # also as rows of a matrix, of images of 4×4 and 8×8
    collectives = re.findall(r"= (.*?) (all-gather|all-to-all|collective-permute)(?:-start)?\(", text)
    gathered = [shape for shape, _ in collectives]
    assert not [shape for shape in gathered if re.search(r"\[(13|104),", shape)]
    assert bool(gathered) == (layout != "data parallel")
    # On each device: the dataset, the indices of a chunk, and its part of the state.
    whole = state_bytes(state, None)
    own = program.memory_analysis().argument_size_in_bytes
    own -= sum(math.prod(v.shape) * v.dtype.itemsize for v in feed.data_shapes)
    own -= sum(math.prod(v.sharding.shard_shape(v.shape)) * 4 for v in feed.shapes)
    assert own == pytest.approx(state_bytes(state, devices), abs=64)
    assert own <= {"data parallel": 1.001, "FSDP": 1.1 / 8, "ZeRO-1": 0.5}[layout] * whole


@pytest.mark.slow
def test_resuming_on_the_same_devices_gives_the_same_bits_and_on_others_the_same_losses(tmp_path):
    class Cut(Exception):
        pass

    def cut(event):
        if getattr(event, "step", 0) == 6:
            raise Cut

    begun = settings(tmp_path, *LAYOUTS["FSDP"], "checkpoint.every_steps=4", text=SHORT)
    run.train(begun, tmp_path / "whole")
    with pytest.raises(Cut):
        run.train(begun, tmp_path / "run", cut)
    for name, overrides in (("same", []), ("other", LAYOUTS["FSDP in two rows"])):
        shutil.copytree(tmp_path / "run", tmp_path / name)
        run.resume(tmp_path / name, run.settings_of(tmp_path / name, overrides) if overrides else None)
        assert read_manifest(tmp_path / name)["resumed"][0]["step"] == 4
        np.testing.assert_allclose(losses(tmp_path / name), losses(tmp_path / "whole"), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, run.load(tmp_path / "same").params, run.load(tmp_path / "whole").params)


def small():
    net = jc.chain(jc.Conv(8, 3), jc.BatchNorm(), jnp.tanh, jc.flatten, jc.Dense(3))
    return net, optax.adam(1e-2)


def test_checkpoints_of_one_mesh_are_restored_on_another(tmp_path):
    net, tx = small()
    state = jc.training.init_state(net, tx, jax.random.key(0), (1, 6, 6, 2), average=True)
    here, there = make_devices(1, 8), make_devices(2, 2, 2)
    with Checkpoints(tmp_path) as saved:
        saved.save(3, here.place(state), {})
    with Checkpoints(tmp_path) as saved:
        _, found, _ = saved.restore(jax.eval_shape(lambda: state))
    placed = there.place(found)
    assert jax.tree.map(lambda v: v.sharding, placed) == there.shardings(state)
    kernel = placed.params["conv0"]["kernel"]
    assert kernel.sharding.spec == jax.P(None, None, "fsdp", "model")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(*map(np.asarray, (a, b))),
        (placed.params, placed.opt_state, placed.average),
        (state.params, state.opt_state, state.average),
    )


def test_rules_by_pattern():
    """The first pattern that matches decides; what does not divide is whole; statistics follow the pattern, too."""
    net, tx = small()
    state = jax.eval_shape(lambda: jc.training.init_state(net, tx, jax.random.key(0), (1, 6, 6, 2), average=True))
    rules = {"*bias": "none", "conv0": "optimizer", "*": "params"}
    found = make_devices(1, 8, shard=rules).shardings(state)
    spec = {
        name: sharding.spec
        for name, sharding in zip(
            [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(state)],
            jax.tree.leaves(found),
            strict=True,
        )
    }
    maps = jax.P(None, None, None, "fsdp")
    assert spec["params/conv0/kernel"] == jax.P(None, None, None, None)
    assert spec["opt_state/0/mu/conv0/kernel"] == spec["opt_state/0/nu/conv0/kernel"] == maps
    assert spec["average/0/conv0/kernel"] == maps
    assert spec["opt_state/0/mu/conv0/bias"] == spec["params/dense0/bias"] == jax.P(None)
    assert spec["params/dense0/kernel"] == spec["opt_state/0/mu/dense0/kernel"] == jax.P("fsdp", None)
    assert spec["state/batch_norm0/mean"] == spec["average/1/batch_norm0/mean"] == jax.P("fsdp")
    assert spec["opt_state/0/count"] == spec["step"] == spec["key"] == jax.P()


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(jc.ConfigError) as raised:
        make_devices(3, 2, 2)
    assert str(raised.value) == (
        "devices: data*fsdp*model must be at most the 8 devices here; got data=3, fsdp=2, model=2"
    )
    with pytest.raises(jc.ConfigError, match="must divide the 8 devices here; got data=-1, fsdp=3, model=1"):
        make_devices(fsdp=3)
    with pytest.raises(jc.ConfigError, match="and -1 for one of them; got data=-1, fsdp=-1, model=1"):
        make_devices(-1, -1)
    with pytest.raises(jc.ConfigError) as raised:
        make_devices(1, 8, shard={"*": "prams"})
    assert str(raised.value) == (
        "devices.shard: '*' must be 'params', 'optimizer', or 'none'; got 'prams'; did you mean 'params'?"
    )
    with pytest.raises(jc.ConfigError) as raised:
        build(settings(tmp_path, "train.batch_size=100"))
    assert str(raised.value) == (
        "train.batch_size must divide into equal parts for 8 devices; got 100, the nearest that do are 96 or 104"
    )
    with pytest.raises(jc.ConfigError, match="for 8 devices in 2 micro-batches; got 8, the nearest that does is 16"):
        build(settings(tmp_path, "train.batch_size=8", "optim.accumulate=2"))
    with pytest.raises(jc.ConfigError, match=r"^devices.shard: a pattern must match at least one parameter"):
        make_devices(1, 8, shard={"stme": "none"}).shardings(
            jax.eval_shape(lambda: jc.training.init_state(*small(), jax.random.key(0), (1, 6, 6, 2)))
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 2}, {"members": 3}, {"members": 4}, {"scale_loss": True}], ids=str
)
def test_steps_of_every_kind(options, rng):
    """Micro-batches, ensembles and loss scaling on a mesh of all three axes."""
    net, tx = small()[0], optax.sgd(0.1)
    source = Arrays(rng.integers(0, 256, (40, 6, 6, 2), np.uint8), rng.integers(0, 3, 40).astype(np.int32))
    members = options.get("members", 0)
    rest = {name: value for name, value in options.items() if name != "members"}
    scaled = {"scale_loss": True} if "scale_loss" in options else {}
    seeds = range(members) if members else 0

    def last(devices):
        step = devices.step(jc.training.make_step(devices.layer(net), tx, prepare=lambda v: v / 255, **rest))
        if members:
            state = jc.training.init_ensemble(net, tx, seeds, (1, 6, 6, 2))
        else:
            state = jc.training.init_state(net, tx, jax.random.key(0), (1, 6, 6, 2), **scaled)
        feed = Resident(source, 16, seeds, max_steps=4, devices=devices)
        return jc.training.fit(step, devices.place(state), feed, steps=4, members=members and devices.vmap).final.params

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        last(make_devices(2, 2, 2, members=members or 1)),
        last(make_devices(data=1)),
    )


@pytest.mark.slow
def test_micro_batches_have_rows_of_every_device(tmp_path):
    """No device computes more than its share of a micro-batch, 13 of 104 rows, and no images are sent."""
    program, *_ = compiled(settings(tmp_path, "train.batch_size=208", "optim.accumulate=2", text=SHORT))
    text = program.as_text()
    assert set(re.findall(r"\bf32\[(\d+),6,6,8\]", text)) == {"13"}
    assert not re.findall(r" (all-gather|all-to-all|collective-permute)(?:-start)?\(", text)


def fitted(settings):
    """The final state of a config's run, and its answers to the test images."""
    inputs, model, training = build(settings)
    devices, members = training.devices, training.members
    feed = training_feed(inputs, settings, training.seeds, 0, training.steps, devices)
    state = jc.training.fit(
        training.step, devices.place(training.start()), feed, steps=training.steps, members=members
    ).final
    return state, callbacks.Tester(settings, inputs, model, members=members, devices=devices).on_test(state)


@pytest.mark.slow
def test_members_of_an_ensemble_are_spread(tmp_path):
    """Four members on eight devices, two for each: sums over those two are sent, and whether all losses are finite."""

    def ensemble(*overrides):
        return settings(tmp_path, "ensemble.size=4", *overrides, text=SHORT)

    program, state, _, devices = compiled(ensemble())
    assert dict(devices.mesh.shape) == {"members": 4, "data": 2, "fsdp": 1, "model": 1}
    assert state_bytes(state, devices) * 4 == state_bytes(state, None)
    sent = re.findall(
        r"= (.*?) (all-\S+|collective-permute|reduce-scatter)(?:-start)?\(.*?replica_groups=(\S+)", program.as_text()
    )
    assert {kind for _, kind, _ in sent} == {"all-reduce"}
    assert {shape for shape, _, groups in sent if groups != "[4,2]<=[8],"} == {"pred[]"}
    (spread, answers), (one, want) = fitted(ensemble()), fitted(ensemble("devices.data=1"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), spread.params, one.params)
    for found, right in ((answers, want), (answers.mean, want.mean)):
        np.testing.assert_allclose(found.loss, right.loss, rtol=1e-3, atol=1e-5)
    assert (answers.vote == want.vote).mean() > 0.99


@pytest.mark.slow
def test_a_member_on_a_device_of_its_own_has_the_bits_of_its_separate_run(tmp_path):
    eight = settings(tmp_path, "ensemble.size=8", text=SHORT)
    program, *_ = compiled(eight)
    assert re.findall(r"= (.*?) all-\S+\(", program.as_text()) == ["pred[]"]
    alone, _ = fitted(settings(tmp_path, "train.seed=3", "devices.data=1", text=SHORT))
    jax.tree.map(np.testing.assert_array_equal, member(fitted(eight)[0].params, 3), alone.params)


@pytest.mark.slow
def test_a_dry_run_counts_what_is_sent(tmp_path):
    """A gradient of each parameter once for each micro-batch; gathered parameters under FSDP, with state in eighths."""
    found = run.describe(settings(tmp_path, "train.batch_size=128", "optim.accumulate=2", text=SHORT))
    parameters, sums = 4 * found.net.parameters, {row.phase: row for row in found.collectives}
    assert set(sums) == {"forward", "backward"}
    assert all((row.kind, row.devices) == ("all-reduce", 8) for row in found.collectives)
    assert 2 * parameters <= sums["backward"].size <= 2 * parameters + 2 * 128  # and sums of the loss and the norm
    assert sums["backward"].sent == sums["backward"].size * 2 * 7 / 8
    assert (found.share, found.mesh, found.state_bytes) == (16, {"data": 8}, found.whole_bytes)
    found = run.describe(settings(tmp_path, *LAYOUTS["FSDP"], text=SHORT))
    gathered = [row for row in found.collectives if (row.kind, row.phase) == ("all-gather", "forward")]
    assert [row.devices for row in gathered] == [8]
    assert 0.9 * parameters < gathered[0].size <= 1.02 * parameters
    assert found.state_bytes < 1.1 / 8 * found.whole_bytes
    assert found.all_bytes >= found.state_bytes + found.data_bytes + found.step_bytes


def test_axes_that_divide_nothing_are_refused(tmp_path):
    net, tx = small()
    state = jax.eval_shape(lambda: jc.training.init_state(net, tx, jax.random.key(0), (1, 6, 6, 2)))
    with pytest.raises(jc.ConfigError) as raised:
        make_devices(1, 1, 7).shardings(state)
    assert str(raised.value) == "devices.model must divide the channels of at least one kernel, 3, 8; got 7"
    with pytest.raises(jc.ConfigError, match=r"^devices.fsdp must divide the channels of at least one kernel, 3, 8; "):
        make_devices(1, 7).shardings(state)
    make_devices(1, 7, shard={"*": "none"}).shardings(state)


@pytest.mark.slow
def test_a_sweep_has_as_many_runs_at_once_as_there_are_devices_for(tmp_path):
    """Two of three runs at once on four of eight devices each; a signal saves both, and the third is not started."""
    (tmp_path / "net.toml").write_text(SHORT)
    begun, running, stopped = [], set(), []

    def stop(event, name):
        running.update([name] if isinstance(event, Progress) else [])
        if len(running) == 2 and not stopped:
            stopped.append(os.kill(os.getpid(), signal.SIGTERM))

    def sweep(seeds, report):
        values = ["devices.data=4", "epochs=3", f"seed={seeds}"]
        return run.sweep(tmp_path / "net.toml", values, tmp_path / "swept", report, lambda *event: begun.append(event))

    with pytest.raises(run.StoppedError, match="and saved"):
        sweep("0,1,2", stop)
    names = ["data=4,epochs=3,seed=0", "data=4,epochs=3,seed=1"]
    assert begun == [(name, number, 3) for number, name in enumerate(names, 1)]
    assert {folder.name for folder in (tmp_path / "swept").iterdir()} == running == set(names)
    assert all(list((tmp_path / "swept" / name / "checkpoints").glob("[0-9]*")) for name in names)

    sweep("1", lambda event, name: None)
    alone, _ = fitted(settings(tmp_path, "devices.data=4", "epochs=3", "train.seed=1", text=SHORT))
    jax.tree.map(np.testing.assert_array_equal, run.load(tmp_path / "swept" / names[1]).params, alone.params)


def test_devices_are_shared_by_the_runs_of_a_sweep(tmp_path):
    def shares(runs, *overrides):
        return [list(share) for share in _shares([settings(tmp_path, *overrides)] * runs, range(8))]

    assert shares(3) == [[0, 1], [2, 3], [4, 5]]
    assert shares(20) == [[number] for number in range(8)]
    assert shares(1) == [list(range(8))]
    assert shares(3, "devices.data=1") == [[0, 1], [2, 3], [4, 5]]
    assert shares(9, "devices.data=-1", "devices.model=3") == [[0, 1, 2], [3, 4, 5]]
    assert shares(9, "devices.data=9") == shares(0) == []


def test_members_without_a_state_are_spread():
    devices = make_devices(members=4)
    found = jax.jit(lambda p: devices.vmap(lambda p, state, x: p * x, (0, 0, None))(p, {}, 3.0))(jnp.arange(4.0))
    np.testing.assert_array_equal(found, [0, 3, 6, 9])


# XLA starts at most 32 programs of a CPU at once. One more holds a thread that a collective of the others may need: a
# deadlock, after which XLA ends the process.


@pytest.mark.slow
def test_more_arrays_are_gathered_than_programs_are_started_at_once():
    devices = make_devices(data=1, fsdp=8)
    want = [np.arange(8.0 * n, dtype=np.float32).reshape(8, n) for n in range(1, 201)]
    cut = NamedSharding(devices.mesh, PartitionSpec("fsdp"))
    for _ in range(10):
        found = devices.all([jax.device_put(array, cut) for array in want])
        assert all(array.is_fully_replicated for array in found)
        jax.tree.map(np.testing.assert_array_equal, found, want)


@pytest.mark.slow
def test_more_batches_are_evaluated_than_programs_are_started_at_once(rng):
    devices = make_devices(data=1, fsdp=8)
    state = jc.training.init_state(*small(), jax.random.key(0), (1, 6, 6, 2))
    source = Arrays(rng.integers(0, 256, (1600, 6, 6, 2), np.uint8), rng.integers(0, 3, 1600).astype(np.int32))

    def found(devices):
        net = devices.layer(small()[0])
        step = jax.jit(evaluation.make_eval_step(net, lambda v: v / 255), out_shardings=devices.whole)
        params, stats = devices.place(state).tested
        feed = (devices.batch(batch) for batch in evaluation.batches(source, 8))
        return evaluation.answers(evaluation.results(step, params, stats, feed))

    want = found(make_devices(data=1))
    np.testing.assert_allclose(found(devices).loss, want.loss, rtol=1e-5)
