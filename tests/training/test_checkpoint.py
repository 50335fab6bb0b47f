"""Checkpoints: round trips, and refusals that name every difference."""

import os
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.flips import flips

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.training import checkpoint


def tree(rng):
    return {
        "params": {
            "conv0": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32).T},
            "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
            "pair": (jnp.arange(3), jnp.array(True)),
        },
        "state": {"relu0": {}, "scalar": jnp.float32(3)},
    }


def test_round_trip(tmp_path, rng):
    saved = tree(rng)
    checkpoint.save(tmp_path / "x", saved)
    loaded = checkpoint.load(tmp_path / "x", jax.eval_shape(lambda: saved))
    chex.assert_trees_all_equal_structs(loaded, saved)
    for got, expected in zip(jax.tree.leaves(loaded), jax.tree.leaves(saved), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_home_in_the_path(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved = tree(rng)
    checkpoint.save("~/a.safetensors", saved)
    assert (tmp_path / "a.safetensors").is_file()
    chex.assert_trees_all_equal(checkpoint.load("~/a.safetensors", saved), saved)


def test_another_net_is_refused_with_every_difference(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": {"same": jnp.zeros(2), "wide": jnp.zeros([2, 3])}, "old": jnp.zeros(1)})
    like = {"a": {"same": jnp.zeros(2), "wide": jnp.zeros([2, 4])}, "new": jnp.zeros([], jnp.int32)}
    with pytest.raises(ConfigError) as caught:
        checkpoint.load(path, like)
    assert str(caught.value).splitlines() == [
        f"{path} is a checkpoint of another net: 3 of 4 leaves differ",
        "    a/same  [2] float32",
        "  ! a/wide  [2, 3] float32 in the file, [2, 4] float32 in this net",
        "  + new  [] int32  only in this net",
        "  - old  [1] float32  only in the file",
    ]


def test_a_type_is_a_difference(tmp_path):
    checkpoint.save(tmp_path / "x", {"a": jnp.zeros(2, jnp.bfloat16)})
    with pytest.raises(ConfigError, match=r"! a  \[2\] bfloat16 in the file, \[2\] float32 in this net"):
        checkpoint.load(tmp_path / "x", {"a": jnp.zeros(2)})


def test_damage_is_named(tmp_path):
    path = tmp_path / "x"
    checkpoint.save(path, {"a": jnp.zeros(100)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=f"^{path} is truncated, altered or no safetensors file: "):
        checkpoint.load(path, {"a": jnp.zeros(100)})
    with pytest.raises(DataError, match="No such file or directory"):
        checkpoint.load(tmp_path / "none", {})


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    checkpoint.save(path, {"a": jnp.ones(2)})
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            checkpoint.save(path, {"a": jnp.zeros(2)})
    np.testing.assert_array_equal(checkpoint.load(path, {"a": jnp.zeros(2)})["a"], [1, 1])
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_names_must_differ(tmp_path):
    with pytest.raises(ConfigError) as caught:
        checkpoint.save(tmp_path / "x", {"a": {"b": jnp.zeros(1)}, "a/b": jnp.zeros(1)})
    assert str(caught.value) == "leaves must have different names; more than one is called a/b"


@pytest.mark.slow
def test_a_flipped_bit_is_reported_or_changes_nothing(tmp_path, rng):
    path, saved = tmp_path / "x", tree(rng)
    checkpoint.save(path, saved)
    reported = 0
    for bit in flips(path, 300):
        try:
            loaded = checkpoint.load(path, jax.eval_shape(lambda: saved))
        except DataError:
            reported += 1
            continue
        for got, expected in zip(jax.tree.leaves(loaded), jax.tree.leaves(saved), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=f"bit {bit}")
    assert reported > 250


def test_altered_numbers_are_reported_with_the_file(tmp_path):
    path = tmp_path / "x"
    checkpoint.save(path, {"a": jnp.ones(4)})
    path.write_bytes(path.read_bytes()[:-1] + b"@")
    with pytest.raises(DataError) as caught:
        checkpoint.load(path, {"a": jnp.ones(4)})
    assert str(caught.value) == (
        f"{path} was altered: its arrays differ from their checksum\n  fix: get the file again"
    )


def test_a_file_without_a_checksum_is_loaded(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3, dtype=np.int32)}, tmp_path / "x")
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "x", {"a": jnp.arange(3)})["a"], [0, 1, 2])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_unreadable_file_is_not_called_missing():
    import safetensors.flax  # noqa: F401  # nobody may not read the installation

    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    checkpoint.save(folder / "x", {"a": jnp.ones(4)})
    (folder / "x").chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(DataError) as caught:
            checkpoint.load(folder / "x", {"a": jnp.ones(4)})
    finally:
        os.seteuid(0)
    assert str(caught.value) == f"cannot read {folder}/x: Permission denied"


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("abstract", [False, True])
def test_random_keys_are_restored_with_their_generator(tmp_path, impl, abstract):
    saved = {"key": jax.random.key(3, impl=impl), "keys": jax.random.split(jax.random.key(4, impl=impl), 2)}
    checkpoint.save(tmp_path / "x", saved)
    other = {"key": jax.random.key(0, impl=impl), "keys": jax.random.split(jax.random.key(1, impl=impl), 2)}
    loaded = checkpoint.load(tmp_path / "x", jax.eval_shape(lambda: other) if abstract else other)
    for name, key in saved.items():
        assert jax.random.key_impl(loaded[name]) == impl
        np.testing.assert_array_equal(jax.random.key_data(loaded[name]), jax.random.key_data(key))
