"""State dicts as trainers write them: prefixes of names, dicts in dicts, averaged weights, entries by name."""

import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.trees import assert_equal

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.port.weights.read import read

torch = pytest.importorskip("torch")


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "conv._orig_mod."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_put_before_names_is_left_out(weights, prefix):
    around = {f"{prefix}{name}": array for name, array in weights.items()}
    if prefix == "conv._orig_mod.":  # one part is compiled
        around = {name.replace("conv._orig_mod.conv.", "conv._orig_mod."): array for name, array in around.items()}
    assert_equal(read(around), weights)


def test_averaged_weights(weights, tensors):
    module = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 2)})
    module.load_state_dict(tensors)
    averaged = torch.optim.swa_utils.AveragedModel(module).state_dict()
    assert "n_averaged" in averaged
    assert_equal(read(averaged), weights)
    # A name of the module's own beside others is no wrapper's.
    assert read({"n_averaged": np.ones(1), "a": np.ones(2)}).keys() == {"n_averaged", "a"}


def test_names_that_become_one(weights):
    with pytest.raises(DataError) as caught:
        read({"fc._orig_mod.weight": np.ones(2), "fc.weight": np.zeros(2)})
    assert str(caught.value) == "weights must hold each name once; more than once there: fc.weight"


@pytest.mark.parametrize("depth", [9, 900])
def test_dicts_in_dicts(tmp_path, monkeypatch, tensors, depth):
    nested = tensors
    for _ in range(depth):
        nested = {"model": nested}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)  # for torch to write it
    torch.save(nested, tmp_path / "a.pth")
    sys.setrecursionlimit(limit)
    itself = {}
    itself["model"] = itself
    for given, where in [(nested, "weights"), (tmp_path / "a.pth", tmp_path / "a.pth"), (itself, "weights")]:
        with pytest.raises(ConfigError) as caught:
            read(given)
        assert str(caught.value) == f"{where} must be a state dict; got dicts in dicts, more than 8 deep"


def test_several_state_dicts(tensors):
    with pytest.raises(ConfigError) as caught:
        read({"student": tensors, "teacher": tensors})
    assert str(caught.value) == (
        "weights must hold one state dict; it has 2, 'student', 'teacher'\n  fix: entry='student'"
    )


@pytest.mark.parametrize("word", ["state_dict", "net"])
def test_tensors_beside_the_state_dict(tensors, weights, word):
    """As the ImageNet example of torch writes it, and a trainer that keeps its random state."""
    beside = {"epoch": 3, "arch": "resnet18", "best_acc1": torch.tensor(76.1), "rng": torch.get_rng_state()}
    assert_equal(read(beside | {word: tensors}), weights)


def test_more_tensors_beside_a_dict_are_the_state_dict(tensors):
    with pytest.raises(ConfigError, match=r"'fc\._extra_state' is a dict"):
        read(tensors | {"fc._extra_state": {"scale": torch.ones(1)}})


def test_the_entry_of_a_checkpoint_with_averaged_weights(tmp_path, tensors):
    """`model_ema` only when asked for; without, `model`, and a warning that names the others."""
    averaged = {"n_averaged": torch.tensor(3)} | {f"module.{name}": 2 * value for name, value in tensors.items()}
    optimizer = {"state": {}, "param_groups": []}
    torch.save({"model": tensors, "model_ema": averaged, "optimizer": optimizer, "epoch": 3}, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="loaded") as caught:
        found = read(tmp_path / "a.pth")
    assert str(caught[0].message) == (
        f"loaded 'model' of {tmp_path}/a.pth, which also has 'model_ema': entry=... loads another"
    )
    wanted = read(tmp_path / "a.pth", "model_ema")
    assert found.keys() == wanted.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
        np.testing.assert_array_equal(wanted[name], 2 * value)
    nested = {"checkpoint": {"state_dict": tensors, "state_dict_ema": averaged}}
    np.testing.assert_array_equal(read(nested, "checkpoint/state_dict_ema")["conv.bias"], 2 * tensors["conv.bias"])


@pytest.mark.parametrize("entry", ["ema", "epoch", "model/fc"])
def test_an_entry_that_is_not_there(tensors, entry):
    with pytest.raises(ConfigError) as caught:
        read({"model": tensors, "model_ema": tensors, "epoch": 3}, entry)
    known = "'model', 'model_ema'" if "/" not in entry else "no state dict under a key of its own"
    assert str(caught.value) == f"entry must be a key of weights, which has {known}; got {entry!r}"


@pytest.mark.parametrize("given", ["safetensors", "npz"])
def test_a_flat_file_has_no_entries(tmp_path, weights, given):
    path = tmp_path / f"a.{given}"
    save_file(weights, path) if given == "safetensors" else np.savez(path, **weights)
    with pytest.raises(ConfigError, match="which has no state dict under a key of its own; got 'model_ema'"):
        read(path, "model_ema")
