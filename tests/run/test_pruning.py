"""Runs that prune: zeros in the saved parameters, over a resumption, and configs that cannot reach their sparsity."""

import jax
import numpy as np
import pytest
from support.tiny_run import killed_at_step_8, settings

from jaxconv import run
from jaxconv._base.errors import ConfigError

PRUNING = ["optim.pruning={sparsity=0.5, end_percent=60, every_steps=2}", "optim.momentum=0.9"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [[], ["ensemble.size=2"], ["optim.sam=0.1", "optim.freeze=['head']"]], ids=str)
def test_a_run_leaves_zeros_and_resumes_to_the_same_bits(tmp_path, no_pictures, changes):
    killed_at_step_8(settings(tmp_path, *PRUNING, *changes), tmp_path)
    loaded = run.load(tmp_path / "run")
    size = loaded.settings.ensemble.size
    kernels = [leaf for path, leaf in jax.tree.leaves_with_path(loaded.params) if path[-1].key == "kernel"]
    total = sum(leaf.size for leaf in kernels) // size
    zeros = sum(np.sum(np.reshape(leaf, (size, -1)) == 0, axis=1) for leaf in kernels)
    np.testing.assert_array_equal(zeros, total // 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optim.pruning.sparsity=0.5", "optim.ema=0.9"],
         "optim.pruning needs the parameters themselves, whose averages are not zero where they are; "
         "unset optim.ema and optim.swa, and choose an optimizer without an average"),
        (["optim.pruning={sparsity=0.5, every_steps=100}"],
         "optim.pruning: the sparsity must increase, and weights be chosen once more after that\n"
         "  got: an increase from step 0 to 9, the last choice at step 0 of 12\n"
         "  fix: a smaller optim.pruning.every_steps or end_percent"),
        (["optim.pruning={sparsity=0.5, start_percent=80}"],
         "optim.pruning: the sparsity must increase, and weights be chosen once more after that\n"
         "  got: an increase from step 10 to 9, the last choice at step 11 of 12\n"
         "  fix: a smaller optim.pruning.every_steps or end_percent"),
        (["optim.pruning.sparsity=0.5", "early_stopping.patience=3", "data.validation=100", "train.eval_every=3"],
         "optim.pruning needs the whole run to reach its sparsity; unset early_stopping.patience"),
    ],
)  # fmt: skip
def test_what_cannot_be_pruned(tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        run.build(settings(tmp_path, *changes))
    assert str(caught.value) == message


def test_patterns_that_match_nothing(tmp_path):
    with pytest.raises(ConfigError, match=r"optim\.pruning: a pattern must match at least one parameter"):
        run.train(settings(tmp_path, "optim.pruning={sparsity=0.5, patterns=['stem']}"), tmp_path / "run")
