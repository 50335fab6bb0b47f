"""Files of weights: each kind read, and each damaged or dangerous one refused in words."""

import json
import os
import pathlib
import re
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.damage import survives
from support.trees import assert_equal

import jaxconv as jc
from jaxconv import port
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.port.weights.read import read

torch = pytest.importorskip("torch")


def test_safetensors(tmp_path, weights):
    save_file(weights, tmp_path / "a.safetensors")
    assert_equal(read(tmp_path / "a.safetensors"), weights)
    assert_equal(read(str(tmp_path / "a.safetensors")), weights)


def test_npz(tmp_path, weights):
    np.savez_compressed(tmp_path / "a.npz", **weights)
    assert_equal(read(tmp_path / "a.npz"), weights)


@pytest.mark.parametrize("ending", ["pth", "pt", "bin", "ckpt", "pth.tar"])
@pytest.mark.parametrize(
    "around",
    [
        lambda t: t,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"epoch": 3, "model": {"state_dict": t}},
        lambda t: {"net": t, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    ],
    ids=["plain", "checkpoint", "nested", "other word"],
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
    assert lines[0] == f"{path} holds code beside its weights: refused, and no code was executed"
    assert lines[1] == f"  got: it needs {os.mkdir.__module__}.mkdir"
    assert lines[2] == (
        "  fix: if you trust it, torch.save(model.state_dict(), 'weights.pth') in the program that wrote it, or a "
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
        (bad("none.pth"), DataError, "cannot read {folder}/none.pth: no such file"),
        (bad("empty"), DataError, "cannot read {folder}/empty: it is a folder without a file of weights"),
        (bad("a.h5"), ConfigError,
         "weights must be a file of .safetensors, .npz, .pth, .pt, .bin, .ckpt, .pth.tar, .safetensors.index.json, "
         ".bin.index.json; got {folder}/a.h5"),
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
    (tmp_path / "empty").mkdir()
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
        f"{tmp_path}/a.pth needs torch, which is not installed\n"
        "  fix: pip install torch, or a .safetensors file of the same weights"
    )


SPECIAL = {
    "sparse": (lambda t: t.to_sparse(), 0),
    "csr": (lambda t: t.flatten(1).to_sparse_csr(), 0),
    "quantized": (lambda t: torch.quantize_per_tensor(t, 0.125, 3, torch.qint8), 0.07),
    "quantized by channel": (
        lambda t: torch.quantize_per_channel(t, torch.full([4], 0.125), torch.zeros(4), 0, torch.qint8), 0.07,
    ),
    "bfloat16": (lambda t: t.to(torch.bfloat16), 0.02),
    "sparse bfloat16": (lambda t: t.to(torch.bfloat16).to_sparse(), 0.02),
    "float8_e4m3fn": (lambda t: t.to(torch.float8_e4m3fn), 0.2),
    "float8_e5m2": (lambda t: t.to(torch.float8_e5m2), 0.4),
    "negated view": (lambda t: torch.complex(0 * t, -t).conj().imag, 0),
    "float64": (lambda t: t.double(), 0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch's, of formats that it calls beta or deprecated
@pytest.mark.parametrize("kind", SPECIAL)
def test_tensors_of_every_kind(tmp_path, weights, tensors, kind):
    make, tolerance = SPECIAL[kind]
    want = weights["conv.weight"].reshape(4, -1) if kind == "csr" else weights["conv.weight"]
    special = {"conv.weight": make(tensors["conv.weight"])}
    torch.save(special, tmp_path / "a.pth")
    for given in (special, tmp_path / "a.pth"):
        found = read(given)["conv.weight"]
        assert found.dtype == (np.float64 if kind == "float64" else np.float32)
        np.testing.assert_allclose(found, want, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "what", "fix"),
    [
        (lambda t: t.to("meta"), "is on the device meta, without values", "load the weights into the module first"),
        (lambda t: torch.nested.nested_tensor([t[0], t[0, :2]]), "is a nested tensor, of several shapes",
         "torch.nested.to_padded_tensor"),
        (lambda t: torch.nested.nested_tensor([t[0], t[0, :2]], layout=torch.jagged),
         "is a nested tensor, of several shapes", "torch.nested.to_padded_tensor"),
        (lambda t: torch.zeros(3, 4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
         "is torch.float4_e2m1fn_x2, torch.strided", "tensor.float() in the program that wrote it"),
        (lambda t: torch.ones(3, dtype=torch.complex32), "is torch.complex32, torch.strided",
         "tensor.float() in the program that wrote it"),
    ],
    ids=["meta", "nested", "jagged", "fp4", "complex32"],
)  # fmt: skip
def test_tensors_that_have_no_values(tmp_path, tensors, make, what, fix):
    special = {"a.weight": tensors["conv.weight"], "fc.weight": make(tensors["conv.weight"])}
    torch.save(special, tmp_path / "a.pth")
    for given, where in [(special, "weights"), (tmp_path / "a.pth", tmp_path / "a.pth")]:
        with pytest.raises(ConfigError) as caught:
            read(given)
        message = f"{where} must hold tensors that NumPy can hold; 'fc.weight' {what}\n  fix: {fix}"
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("word", "dtype", "bits"),
    [("BF16", "bfloat16", 8), ("F8_E4M3", "float8_e4m3fn", 4), ("F8_E5M2", "float8_e5m2", 3),
     ("F8_E4M3FNUZ", "float8_e4m3fnuz", 4), ("F8_E5M2FNUZ", "float8_e5m2fnuz", 3), ("F16", "float16", 11),
     ("F64", "float64", 24), ("I64", "int64", 0), ("BOOL", "bool", 0)],
)  # fmt: skip
def test_types_of_safetensors(tmp_path, weights, word, dtype, bits):
    from safetensors.torch import save_file

    tensor = torch.tensor(weights["conv.weight"] * 10).to(getattr(torch, dtype))
    save_file({"w": tensor, "scalar": torch.tensor(2.0), "empty": torch.zeros(0, 3)}, tmp_path / "a.safetensors")
    assert f'"{word}"'.encode() in (tmp_path / "a.safetensors").read_bytes()
    found = read(tmp_path / "a.safetensors")
    if bits:
        np.testing.assert_allclose(found["w"], 10 * weights["conv.weight"], rtol=2.0**-bits, atol=2**-6)
        assert found["w"].dtype == (dtype if dtype in ("float16", "float64") else np.float32)
    else:
        np.testing.assert_array_equal(found["w"], tensor.numpy())
    assert (found["scalar"].shape, found["empty"].shape) == ((), (0, 3))


def safetensors(*entries, size):
    head = "{" + ", ".join(f'"{name}": {json.dumps(entry)}' for name, entry in entries) + "}"
    return len(head).to_bytes(8, "little") + head.encode() + bytes(size)


def test_safetensors_of_doubtful_heads(tmp_path):
    path = tmp_path / "a.safetensors"
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    path.write_bytes(safetensors(("w", one), ("w", one), size=8))
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == f"{path} must hold each name once; more than once there: w"
    path.write_bytes(safetensors(("fc.weight", {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}), size=2))
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} must hold tensors that NumPy can hold; 'fc.weight' is F4\n"
        "  fix: tensor.float() in the program that wrote it"
    )


def test_a_folder_of_weights(tmp_path, weights, tensors):
    with pytest.raises(DataError, match="it is a folder"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    assert_equal(read(tmp_path), weights)
    torch.save(tensors, tmp_path / "optimizer.pt")
    with pytest.raises(ConfigError, match=r"it has 2: diffusion_pytorch_model\.safetensors, optimizer\.pt$"):
        read(tmp_path)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert_equal(read(tmp_path), weights)


def test_tied_tensors_that_are_written_once(tmp_path):
    """`save_model` drops one name of two; a net with both names, with the kept one and with the dropped one loads."""
    from safetensors.torch import load_file, save_model

    module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight
    save_model(module, tmp_path / "a.safetensors")
    assert len(load_file(tmp_path / "a.safetensors")) == 3
    assert_equal(read(tmp_path / "a.safetensors"), {name: t.numpy() for name, t in module.state_dict().items()})
    both = jc.chain(a=jc.Dense(3), b=jc.Dense(3))
    params, _ = port.load(both, tmp_path / "a.safetensors", x=(1, 3))
    np.testing.assert_array_equal(params["b"]["kernel"], params["a"]["kernel"])
    for name in "ab":
        one = jc.chain(**{name: jc.Dense(3, bias=False)})
        params, _ = port.load(one, tmp_path / "a.safetensors", x=(1, 3), ignore=("a.bias", "b.bias"))
        np.testing.assert_array_equal(params[name]["kernel"], module["a"].weight.detach().numpy().T)


def test_a_shape_that_a_few_numbers_stand_for(tmp_path, monkeypatch):
    torch.save({"w": torch.ones(1, dtype=torch.bfloat16).expand(1 << 40)}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").stat().st_size < 4096
    with pytest.raises(DataError, match=r"a.pth: w must fit into memory: it unpacks to 4,096.0 GiB, there are "):
        read(tmp_path / "a.pth")


def test_shards_of_torch(tmp_path, weights, tensors):
    files = {name: f"pytorch_model-{number}-of-2.bin" for number, name in enumerate(tensors, 1)}
    for name, file in files.items():
        torch.save({name: tensors[name]}, tmp_path / file)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert_equal(read(index), weights)
    assert_equal(read(tmp_path), weights)
    index.rename(tmp_path / "other.bin.index.json")
    assert_equal(read(tmp_path), weights)
    (tmp_path / "other.bin.index.json").write_text(json.dumps({"weight_map": {"x": "other.bin.index.json"}}))
    with pytest.raises(DataError, match="lists 1 tensors that are not in their files: x"):
        read(tmp_path / "other.bin.index.json")


def test_a_home_and_a_variable_in_a_path(tmp_path, monkeypatch, weights):
    save_file(weights, tmp_path / "a.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    for path in ("~/a.safetensors", "$PLACE/a.safetensors", "${PLACE}/a.safetensors"):
        assert_equal(read(path), weights)


def test_shards(tmp_path, weights):
    index = tmp_path / "model.safetensors.index.json"
    files = {name: f"model-{number}-of-2.safetensors" for number, name in enumerate(weights, 1)}
    for name, file in files.items():
        save_file({name: weights[name]}, tmp_path / file)
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert_equal(read(index), weights)
    assert_equal(read(tmp_path), weights)
    (tmp_path / "elsewhere").mkdir()
    save_file({"x": weights["conv.bias"]}, tmp_path / "elsewhere" / "a.safetensors")
    for content, message in [
        (
            {"weight_map": files | {"more": "model-1-of-2.safetensors"}},
            "lists 1 tensors that are not in their files: more",
        ),
        ({"weight_map": {"x": "elsewhere/a.safetensors"}}, "lists 1 tensors that are not in their files: x"),
        ({"weight_map": {"x": 3}}, 'must hold a "weight_map" of names to files beside it'),
        ([], 'must hold a "weight_map" of names to files beside it'),
    ]:
        index.write_text(json.dumps(content))
        with pytest.raises(DataError) as caught:
            read(index)
        assert str(caught.value) == f"{index} {message}"
    index.write_text(json.dumps({"weight_map": files | {"x": "gone.safetensors"}}))
    with pytest.raises(DataError) as caught:
        read(index)
    assert str(caught.value) == f"cannot read {tmp_path / 'gone.safetensors'}: no such file"


@pytest.mark.parametrize("places", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["safetensors", "npz", "pth"])
def test_damage_anywhere(tmp_path, rng, weights, tensors, ending, places):
    path = tmp_path / f"a.{ending}"
    write = {"safetensors": lambda: save_file(weights, path), "npz": lambda: np.savez(path, **weights),
             "pth": lambda: torch.save(tensors, path)}  # fmt: skip
    write[ending]()

    def is_right(found):
        # There is a checksum in .npz alone: elsewhere a bit may have changed a value, a name or the order of sizes.
        if ending == "npz":
            return all(np.array_equal(found[name], weights[name]) for name in found.keys() & weights.keys())
        return sum(array.nbytes for array in found.values()) <= sum(array.nbytes for array in weights.values())

    refused, whole = survives(read, path, path.read_bytes(), is_right, rng, places)
    assert refused > places // 5
    assert whole > 0
