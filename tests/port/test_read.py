"""Files of weights: each kind read, and each damaged or dangerous one refused in words."""

import os
import pathlib
import re
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxconv.errors import ConfigError, DataError
from jaxconv.port.read import read

torch = pytest.importorskip("torch")


@pytest.fixture
def weights(rng):
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "conv.bias": np.arange(4, dtype=np.float32),
    }


@pytest.fixture
def tensors(weights):
    return {name: torch.tensor(array) for name, array in weights.items()}


def assert_equal(found, want):
    assert found.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array, name)


def test_safetensors(tmp_path, weights):
    save_file(weights, tmp_path / "a.safetensors")
    assert_equal(read(tmp_path / "a.safetensors"), weights)
    assert_equal(read(str(tmp_path / "a.safetensors")), weights)


def test_npz(tmp_path, weights):
    np.savez_compressed(tmp_path / "a.npz", **weights)
    assert_equal(read(tmp_path / "a.npz"), weights)


@pytest.mark.parametrize("ending", ["pth", "pt", "bin"])
@pytest.mark.parametrize(
    "around",
    [lambda t: t, lambda t: {"state_dict": t, "epoch": 3}, lambda t: {"epoch": 3, "model": {"state_dict": t}}],
    ids=["plain", "checkpoint", "nested"],
)
def test_torch(tmp_path, weights, tensors, ending, around):
    torch.save(around(tensors), tmp_path / f"a.{ending}")
    assert_equal(read(tmp_path / f"a.{ending}"), weights)


def test_what_torch_holds(weights, tensors):
    assert_equal(read(tensors), weights)
    module = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 2)})
    module.load_state_dict(tensors)
    assert_equal(read(module), weights)
    assert_equal(read(torch.nn.DataParallel(module)), weights)
    half = read({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()})
    assert half["conv.weight"].dtype == np.float32
    np.testing.assert_allclose(half["conv.weight"], weights["conv.weight"], rtol=1e-2)


def test_half_precision_of_a_file(tmp_path, tensors):
    from safetensors.torch import save_file

    save_file({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "a.safetensors")["conv.bias"].astype(np.float32), np.arange(4))


def test_names_of_old_files():
    """As in densenet121-a639ec97.pth; torchvision renames them when it loads them."""
    old = {"features.denseblock1.denselayer12.norm.1.weight": 1, "features.denseblock1.denselayer2.conv.2.weight": 2}
    old |= {"features.transition1.norm.weight": 3, "features.conv0.weight": 4}
    assert list(read({name: np.full(3, value) for name, value in old.items()})) == [
        "features.denseblock1.denselayer12.norm1.weight", "features.denseblock1.denselayer2.conv2.weight",
        "features.transition1.norm.weight", "features.conv0.weight",
    ]  # fmt: skip


class Code:
    """A pickle that would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_is_refused_and_not_run(tmp_path, tensors):
    path, proof = tmp_path / "a.pth", tmp_path / "it_ran"
    torch.save({"state_dict": tensors, "hook": Code(proof)}, path)
    with pytest.raises(DataError) as caught:
        read(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path} holds code beside its weights: it was refused, and nothing in it was run"
    assert lines[1] == f"  got: it asks for {os.mkdir.__module__}.mkdir"
    assert lines[2] == (
        "  fix: where you trust it, torch.save(model.state_dict(), 'weights.pth') in the program that wrote it, or a "
        ".safetensors file"
    )
    assert len(lines) == 3
    assert not proof.exists()


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("safetensors", r"a.safetensors is truncated, altered or no safetensors file: .+; it has \d+ bytes\n"
                        r"  fix: get the file again"),
        ("npz", r"a.npz is no whole .npz file of plain arrays: .+"),
        ("pth", r"a.pth is truncated, altered or no file of torch's: .+"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_file_that_was_cut(tmp_path, monkeypatch, weights, tensors, ending, message, share):
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path(f"a.{ending}")
    {"safetensors": lambda: save_file(weights, path), "npz": lambda: np.savez(path, **weights),
     "pth": lambda: torch.save(tensors, path)}[ending]()  # fmt: skip
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError) as caught:
        read(path)
    assert re.fullmatch(message, str(caught.value))


def bad(name):
    return lambda folder: str(folder / name)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (bad("none.pth"), DataError, "cannot read {folder}/none.pth: there is no such file"),
        (bad("."), DataError, "cannot read {folder}: is a folder"),
        (bad("a.h5"), ConfigError,
         "weights must be a file of .safetensors, .npz, .pth, .pt, .bin; got {folder}/a.h5"),
        (bad("one.npz"), DataError, "{folder}/one.npz must be a .npz file of several arrays, found a single one"),
        (lambda folder: {}, ConfigError,
         "weights must be a state dict, names to tensors; got an empty one\n"
         "  fix: model.state_dict(), or the path of a .safetensors, .pth or .npz file"),
        (lambda folder: [1], ConfigError,
         "weights must be a state dict, names to tensors; got a list\n"
         "  fix: model.state_dict(), or the path of a .safetensors, .pth or .npz file"),
        (lambda folder: {"a": "b"}, ConfigError,
         "weights must hold tensors by name; 'a' is a str\n  fix: model.state_dict() of the torch module"),
    ],
)  # fmt: skip
def test_messages(tmp_path, given, error, message):
    (tmp_path / "a.h5").write_bytes(b"x")
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(error) as caught:
        read(given(tmp_path))
    assert str(caught.value) == message.format(folder=tmp_path)


def test_without_torch(tmp_path, monkeypatch, tensors):
    torch.save(tensors, tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "a.pth")
    assert str(caught.value) == (
        f"{tmp_path}/a.pth can be read by torch alone, which is not installed\n"
        "  fix: pip install torch, or a .safetensors file of the same weights"
    )
