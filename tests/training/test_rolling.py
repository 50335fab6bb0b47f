"""Rolling checkpoints: every flipped bit, the state before a damaged one, and what cannot be read or written."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.flips import flips

from jaxconv._base.errors import DataError
from jaxconv._base.files import WriteError
from jaxconv.training import rolling
from jaxconv.training.rolling import Checkpoints

NOTES = {"best": 0.5, "means": {"steps": 3, "losses": 1 / 3}}


def state(step):
    rng = np.random.default_rng(step)
    kernel = jnp.asarray(rng.normal(size=(40, 7)), jnp.float32)
    half = jnp.asarray(rng.normal(size=5), jnp.bfloat16)
    return {"conv0": {"kernel": kernel, "half": half}, "step": jnp.int32(step), "key": jax.random.key(step)}


def same(one, other):
    def plain(leaf):
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    leaves = [map(plain, jax.tree.leaves(tree)) for tree in (one, other)]
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the states of steps 6 and 12; to be copied."""
    folder = tmp_path_factory.mktemp("rolling") / "checkpoints"
    with Checkpoints(folder) as kept:
        for step in (6, 12):
            kept.save(step, state(step), NOTES)
    return folder


def restored(folder):
    """What a folder gives: the step, whether its state and notes are those that were saved, and the lines reported."""
    lines = []
    with Checkpoints(folder, report=lines.append) as kept:
        step, tree, notes = kept.restore(jax.eval_shape(lambda: state(0)))
    return step, same(tree, state(step)) and notes == NOTES, lines


def flipped(saved, tmp_path, count):
    """Restore with `count` flipped bits in each file of the latest state; the number of those that were damage."""
    damaged = 0
    for file in sorted(path for path in (saved / "12").rglob("*") if path.is_file()):
        folder = tmp_path / "flipped"
        shutil.copytree(saved, folder)
        for bit in flips(folder / file.relative_to(saved), count):
            step, right, lines = restored(folder)
            where = f"bit {bit} of {file.relative_to(saved)}"
            assert right, where
            if step == 12:
                assert lines == [], where
                continue
            assert step == 6, where
            assert len(lines) == 1
            assert lines[0].startswith(f"{folder}/12 is damaged: ")
            assert lines[0].endswith("; renamed to 12.damaged")
            (folder / "12.damaged").rename(folder / "12")
            damaged += 1
        shutil.rmtree(folder)
    return damaged


def test_the_best_state_is_kept_across_processes(tmp_path):
    for scores in ({1: 0.5, 2: 0.9, 3: 0.6, 4: None}, {5: 0.7, 6: None}, {7: 0.8, 8: None}):
        with Checkpoints(tmp_path, keep=1) as kept:
            for step, score in scores.items():
                kept.save(step, state(step), NOTES, score)
        assert kept.steps == [2, max(scores)]
    with Checkpoints(tmp_path, keep=1) as kept:
        kept.save(9, state(9), NOTES, 0.95)
        kept.save(10, state(10), NOTES)
    assert kept.steps == [9, 10]


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_found_or_changes_nothing(saved, tmp_path):
    assert flipped(saved, tmp_path, 1) >= 3


@pytest.mark.slow
def test_many_flipped_bits(saved, tmp_path):
    assert flipped(saved, tmp_path, 12) >= 36


@pytest.mark.slow
def test_nothing_is_printed_beside_the_report(saved, tmp_path, capfd):
    shutil.copytree(saved, tmp_path / "c")
    largest = max((path for path in (tmp_path / "c" / "12").rglob("*") if path.is_file()), key=os.path.getsize)
    largest.write_bytes(bytes(largest.stat().st_size))
    assert restored(tmp_path / "c")[:2] == (6, True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_where_every_state_is_damaged_it_is_an_error(saved, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(saved, folder)
    for step in ("6", "12"):
        (folder / step / "notes" / "metadata").write_text("{")
    with Checkpoints(folder) as kept, pytest.raises(DataError) as caught:
        kept.restore(jax.eval_shape(lambda: state(0)))
    assert str(caught.value).startswith(
        f"no undamaged checkpoint is left in {folder}; the earliest: {folder}/6 is damaged: "
    )


@pytest.mark.slow
def test_a_state_of_a_damaged_step_can_be_saved_again(saved, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(saved, folder)
    (folder / "12" / "notes" / "metadata").write_text("{")
    with Checkpoints(folder) as kept:
        assert kept.restore(jax.eval_shape(lambda: state(0)))[0] == 6
        kept.save(12, state(12), NOTES)
    assert rolling.saved_steps(folder) == [6, 12]
    assert restored(folder) == (12, True, [])


def test_a_state_without_a_checksum_is_restored(saved, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(saved, folder)
    path = folder / "12" / "notes" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text())["notes"]))
    assert restored(folder) == (12, True, [])


def test_what_cannot_be_read_is_not_damaged(saved, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(saved, folder)
    path = folder / "12" / "notes" / "metadata"
    path.unlink()
    path.symlink_to(path)
    with Checkpoints(folder) as kept, pytest.raises(OSError, match="Too many levels of symbolic links"):
        kept.restore(jax.eval_shape(lambda: state(0)))
    assert rolling.saved_steps(folder) == [6, 12]


@pytest.mark.slow
def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    kept = Checkpoints(folder)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(WriteError) as caught, kept:
        kept.save(6, state(6), NOTES)
    assert str(caught.value) == f"cannot write {folder}/6: No such file or directory"
    assert not (tmp_path / "run").exists()


def test_without_room_nothing_is_begun(tmp_path, monkeypatch, capfd):
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 10, 4096, 0, 0

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(WriteError) as caught, Checkpoints(tmp_path / "c") as kept:
        kept.save(6, state(6), NOTES)
    assert str(caught.value) == f"cannot write {tmp_path}/c/6: No space left on device"
    assert rolling.saved_steps(tmp_path / "c") == []
    assert capfd.readouterr() == ("", "")
