"""Early stopping and plateaus: rules against torch's and Keras's, and runs over a resumption."""

import json
import types

import numpy as np
import optax
import pytest
from safetensors.numpy import load_file
from support.config_text import config_text
from support.torch_or_skip import torch

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.run.watching import Watcher
from jaxconv.training import optim
from jaxconv.training.progress import Evaluation, Notice, Score

CONFIG = config_text(
    data={"name": "digits", "validation": 300},
    optim={"name": "sgd", "learning_rate": 0.5},
    train={"epochs": 20, "batch_size": 64, "log_every": 3, "eval_every": 3},
    checkpoint={"every_steps": 5},
)
STOPPING = ["early_stopping.patience=3", "early_stopping.monitor=accuracy"]
PLATEAU = ["optim.plateau.patience=1", "optim.plateau.factor=0.3"]


def settings(folder, *overrides):
    path = folder / "tiny.toml"
    path.write_text(CONFIG)
    return config.read(path, overrides)


def watched(tmp_path, scores, *overrides):
    """Numbers of evaluations waited after each score, and the watcher."""
    watcher = Watcher(settings(tmp_path, *overrides), types.SimpleNamespace(opt_state=()), {}, lambda step: 0.5)
    waited = []
    for loss, accuracy in scores:
        watcher(None, Score(loss, accuracy))
        waited.append(watcher.waited)
    return waited, watcher


def test_evaluations_are_counted_as_in_keras(tmp_path):
    losses = [1.0, 0.9, 0.95, 0.9, 0.85, 0.845, 0.9]
    scores = [(loss, 0.5) for loss in losses]
    assert watched(tmp_path, scores, "early_stopping.patience=2")[0] == [0, 0, 1, 2, 0, 0, 1]
    waited, watcher = watched(tmp_path, scores, "early_stopping.patience=2", "early_stopping.min_delta=0.04")
    assert (waited, watcher.stopped) == ([0, 0, 1, 2, 0, 1, 2], True)
    rising = [(1.0, accuracy) for accuracy in (0.1, 0.2, 0.2, 0.3)]
    assert watched(tmp_path, rising, *STOPPING)[0] == [0, 0, 1, 0]
    assert watched(tmp_path, rising)[1].notes == {}


def test_what_a_checkpoint_has_goes_on(tmp_path):
    scores = [(1.0, 0.1), (0.5, 0.1), (0.7, 0.1)]
    _, before = watched(tmp_path, scores, "early_stopping.patience=2")
    notes = json.loads(json.dumps(before.notes))
    found = settings(tmp_path, "early_stopping.patience=2")
    after = Watcher(found, types.SimpleNamespace(opt_state=()), notes, lambda step: 0.5)
    assert not after.stopped
    after(None, Score(0.6, 0.1))
    assert after.stopped


@pytest.mark.slow
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateaus_are_torchs(rng, cooldown):
    losses = np.cumsum(rng.choice([-0.1, 0.0, 0.05], 40)) + 5
    parameter = torch.nn.Parameter(torch.zeros(1))
    descent = torch.optim.SGD([parameter], lr=1.0)
    # torch reduces after more bad evaluations than its patience
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        descent, factor=0.5, patience=2, threshold=0.01, cooldown=cooldown, min_lr=0.05
    )
    tx = optim.scaled_on_plateau(optax.sgd(1.0))
    state = tx.init({"w": np.float32(0)})
    scales = []
    for loss in losses:
        rule.step(float(loss))
        state = optim.observe_loss(
            state, float(loss), factor=0.5, patience=3, rtol=0.01, cooldown=cooldown, min_scale=0.05
        )
        updates, _ = tx.update({"w": np.float32(1)}, state)
        assert -updates["w"] == optim.plateau_scale(state)
        scales.append(optim.plateau_scale(state))
        assert scales[-1] == pytest.approx(descent.param_groups[0]["lr"])
    assert len(set(scales)) > 2


def evaluations(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    keys = ("step", "validation_loss", "validation_accuracy", "loss", "learning_rate")
    return [{key: line[key] for key in keys if key in line} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that stops early, its result and its notices."""
    folder, notices = tmp_path_factory.mktemp("watching"), []
    found = settings(folder, *STOPPING, *PLATEAU)
    result = run.train(found, folder / "run", lambda event: notices.append(event) if isinstance(event, Notice) else 0)
    return folder / "run", result, [notice.text for notice in notices]


@pytest.mark.slow
def test_a_run_stops_early_with_its_best_parameters(whole):
    folder, result, notices = whole
    lines = evaluations(folder)
    found = [(line["validation_accuracy"], line["step"]) for line in lines if "validation_accuracy" in line]
    assert result["steps"] == found[-1][1] < 20 * 1138 // 64
    best, step = max(found, key=lambda pair: (pair[0], -pair[1]))
    assert found.index((best, step)) == len(found) - 4
    assert result["validation_accuracy"] == best
    assert notices == [
        f"stopped at step {result['steps']}: 3 evaluations were no better",
        f"the parameters of step {step} are evaluated and saved, the best so far",
    ]
    assert run.load(folder).test().accuracy == result["test_accuracy"]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.5
    assert min(rates) < 0.16


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 1.0, None])
def test_a_resumed_run_stops_at_the_same_step_with_the_same_bits(whole, tmp_path, share):
    """Killed in the middle, at the evaluation that stops it, and after the state is saved that it stops with."""
    folder, result, _ = whole

    def kill(event):
        if share is None and isinstance(event, Notice):
            raise KeyboardInterrupt
        if share is not None and isinstance(event, Evaluation) and event.step >= int(share * result["steps"]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(settings(tmp_path, *STOPPING, *PLATEAU), tmp_path / "run", kill)
    again = run.resume(tmp_path / "run")
    assert again["steps"] == result["steps"]
    assert again["test_loss"] == result["test_loss"]
    assert evaluations(tmp_path / "run") == evaluations(folder)
    one, other = (load_file(path / "params.safetensors") for path in (folder, tmp_path / "run"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
def test_an_ensemble_on_a_plateau_and_the_last_parameters(tmp_path):
    wanted = [*STOPPING, *PLATEAU, "ensemble.size=2", "early_stopping.restore_best=false", "train.epochs=2"]
    result = run.train(settings(tmp_path, *wanted), tmp_path / "run")
    last = [line for line in evaluations(tmp_path / "run") if "validation_accuracy" in line][-1]
    assert (result["steps"], result["validation_accuracy"]) == (last["step"], last["validation_accuracy"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([*STOPPING, "data.validation=0"],
         "early_stopping.patience needs validation images, as data.validation=1000; got none"),
        ([*PLATEAU, "train.eval_every=none"],
         "optim.plateau needs evaluations at fixed steps, as train.eval_every=500; got none"),
        ([*STOPPING, "train.eval_every=0"],
         "early_stopping.patience needs evaluations at fixed steps, as train.eval_every=500; got none"),
    ],
)  # fmt: skip
def test_evaluations_that_cannot_decide(tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        run.build(settings(tmp_path, *changes))
    assert str(caught.value) == message
