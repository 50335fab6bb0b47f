"""Parquet files, and folders that Hugging Face's datasets saved: the same images, and files that are wrong."""

import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.small_images import error, load

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.fingerprint import fingerprint
from jaxconv.data.stream import evaluation_stream

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
NAMES = ["zebra", "ape", "猫"]


def metadata(names=NAMES, column="label"):
    features = {"image": {"_type": "Image"}, column: {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def table(files, rows=range(12), labels=None, structs=True, **columns):
    images = [{"bytes": files[k], "path": f"{k}.jpg"} if structs else files[k] for k in rows]
    return pa.table({"image": images, "label": [k % 3 for k in rows] if labels is None else labels} | columns)


def write(found, path, names=NAMES, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(found.replace_schema_metadata(metadata(names) if names else None), path, **options)
    return path


def check(source, expected, rows, labels):
    assert len(source) == len(rows)
    assert source.labels.tolist() == labels
    for index in np.random.default_rng(0).permutation(len(rows)):
        image, label = source[int(index)]
        np.testing.assert_array_equal(image, expected[rows[index]])
        assert label == labels[index]


@pytest.mark.parametrize("inner", ["", "data"])
@pytest.mark.parametrize("structs", [True, False])
def test_shards_of_a_folder(files, expected, tmp_path, inner, structs):
    for shard, rows in enumerate((range(5), range(5, 9))):
        path = tmp_path / "set" / inner / f"train-0000{shard}-of-00002.parquet"
        write(table(files, rows, structs=structs), path, row_group_size=2)
    write(table(files, range(9, 12), structs=structs), tmp_path / "set" / inner / "validation-00000-of-00001.parquet")
    loaded = load(tmp_path / "set")
    assert loaded.classes == tuple(NAMES)
    check(loaded.train, expected, range(9), [k % 3 for k in range(9)])
    check(loaded.test, expected, range(9, 12), [0, 1, 2])
    assert loaded.train.files[4:6] == (
        "train-00000-of-00002.parquet: row 4", "train-00001-of-00002.parquet: row 0"
    )  # fmt: skip
    with evaluation_stream(loaded.train, 4, classes=3, threads=4) as batches:
        streamed = [batch.image for batch in batches]
    np.testing.assert_array_equal(np.concatenate(streamed)[:9], expected[:9])
    copy = pickle.loads(pickle.dumps(loaded.train))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: np.stack([copy[k][0] for k in range(9)]), range(8)):
            np.testing.assert_array_equal(found, expected[:9])
    lost = tmp_path / "set" / inner / "train-00001-of-00002.parquet"
    lost.unlink()
    assert error(tmp_path / "set") == (
        f"{lost.parent} must have 2 shards of train-00000-of-00002.parquet, it lacks train-00001-of-00002.parquet"
    )


@pytest.mark.parametrize(
    ("labels", "names", "classes", "numbers"),
    [
        (["b", "a", "c"] * 4, None, ("a", "b", "c"), [1, 0, 2] * 4),
        ([2, 0, 1] * 4, None, ("0", "1", "2"), [2, 0, 1] * 4),
        ([2, 0, 2] * 4, ["x", "y", "z"], ("x", "y", "z"), [2, 0, 2] * 4),
        (pa.array(["b", "a"] * 6).dictionary_encode(), None, ("a", "b"), [1, 0] * 6),
    ],
)
def test_labels_of_one_file(files, tmp_path, labels, names, classes, numbers):
    path = write(table(files, labels=labels), tmp_path / "some.parquet", names)
    loaded = load(path, test_share=0.4, in_memory=True)
    assert loaded.classes == classes
    streamed = load(path, test_share=0.4)
    rows = [int(name.rpartition(" ")[2]) for name in (*streamed.train.files, *streamed.test.files)]
    assert [numbers[row] for row in rows] == [*streamed.train.labels, *streamed.test.labels]
    np.testing.assert_array_equal(loaded.train.images[2], streamed.train[2][0])


def test_columns_of_other_names_and_targets(files, expected, tmp_path):
    found = table(files).rename_columns(["img", "fine"]).append_column("mass", pa.array(range(12), pa.int16()))
    path = tmp_path / "x.parquet"
    pq.write_table(found.replace_schema_metadata(metadata(column="fine")), path)
    assert load(path).classes == tuple(NAMES)
    pq.write_table(found, path)
    assert load(path, label_column="fine").classes == ("0", "1", "2")
    loaded = load(path, image_column="img", targets=["mass"])
    assert (loaded.task, loaded.classes, loaded.train.labels.dtype) == ("regression", ("mass",), np.float32)
    check(loaded.train, expected, loaded.train.rows, loaded.train.labels.tolist())
    assert error(path) == f"{path} must have a column 'label', found img, fine, mass; data.label_column names another"
    assert error(path, label_column="fein") == (
        f"{path} must have a column 'fein', found img, fine, mass; data.label_column = 'fine'?"
    )
    assert error(path, label_column="fine", image_column="mass") == (
        f"{path}: column 'mass' must be binary or a struct of bytes and path, found int16"
    )
    assert error(path, label_column="img") == (
        f"{path}: column 'img' must be whole numbers or text, found struct<bytes: binary, path: string>"
    )
    pq.write_table(found.append_column("other", [[b"x"] * 12]), path)
    assert error(path, label_column="fine") == (
        f"{path} must have one column of images, binary or a struct of bytes and path; found img "
        "(struct<bytes: binary, path: string>), fine (int64), mass (int16), other (binary); data.image_column names it"
    )


def test_what_datasets_saves(photographs, expected, tmp_path):
    hf = pytest.importorskip("datasets")
    hf.disable_progress_bars()
    paths = [str(path) for path in sorted(photographs({}).rglob("*.jpg"))]
    features = hf.Features({"label": hf.ClassLabel(names=NAMES), "image": hf.Image()})
    made = hf.Dataset.from_dict({"image": paths, "label": [k % 3 for k in range(12)]}, features)
    parts = hf.DatasetDict(test=made.select(range(9, 12)), train=made.select(range(9)))
    parts.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "test": 1})
    loaded = load(tmp_path / "saved")
    assert loaded.classes == tuple(NAMES)
    check(loaded.train, expected, range(9), [k % 3 for k in range(9)])
    check(loaded.test, expected, range(9, 12), [0, 1, 2])
    assert loaded.train.files[-1] == "data-00001-of-00002.arrow: row 3"
    alone = load(tmp_path / "saved" / "train").train
    check(alone, expected, alone.rows, [row % 3 for row in alone.rows.tolist()])
    first = fingerprint(loaded)
    hf.DatasetDict(parts, train=made.select([*range(8), 9])).save_to_disk(tmp_path / "other")
    assert fingerprint(load(tmp_path / "other"))["train"] != first["train"]
    parts["train"].to_parquet(tmp_path / "train.parquet", batch_size=4)
    assert load(tmp_path / "train.parquet").classes == tuple(NAMES)
    check(load(tmp_path / "train.parquet").train, expected, alone.rows, alone.labels.tolist())
    (tmp_path / "saved" / "train" / "data-00001-of-00002.arrow").unlink()
    state = tmp_path / "saved" / "train" / "state.json"
    assert error(tmp_path / "saved") == (
        f"{state} lists files that are not in {state.parent}: data-00001-of-00002.arrow"
    )  # fmt: skip
    state.write_text("{")
    assert error(tmp_path / "saved").startswith(f"{state} must be JSON with '_data_files', as datasets writes it: ")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["part", "test"]}')
    assert error(tmp_path / "saved") == (
        f"{tmp_path / 'saved'} must have a part train, found part, test; data.root = {tmp_path / 'saved' / 'part'}?"
    )


def test_images_beside_the_table(files, photographs, expected, tmp_path):
    paths = [str(path) for path in sorted(photographs({}).rglob("*.jpg"))]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": path} for path in paths], kind)
    path = write(pa.table({"image": images, "label": [k % 3 for k in range(12)]}), tmp_path / "x.parquet")
    loaded = load(path)
    check(loaded.train, expected, loaded.train.rows, loaded.train.labels.tolist())
    none = pa.array([{"bytes": None, "path": None}] * 12, kind)
    source = load(write(pa.table({"image": none, "label": [0] * 12}), path)).train
    with pytest.raises(DataError) as caught:
        source[0]
    assert str(caught.value) == f"{path}: row {source.rows[0]} has no image"


def test_the_fingerprint_sees_the_images(files, tmp_path):
    path = write(table(files), tmp_path / "x.parquet")
    first = fingerprint(load(path))
    assert fingerprint(load(path)) == first
    changed = [bytes([*files[0][:-9], files[0][-9] ^ 1, *files[0][-8:]]), *files[1:]]
    write(table(changed, rows=[1, 0, *range(2, 12)], labels=[k % 3 for k in range(12)]), path)
    assert fingerprint(load(path)) != first


def test_a_file_that_changes_while_it_is_read(files, tmp_path):
    path = write(table(files), tmp_path / "x.parquet", row_group_size=1)
    source = load(path).train
    source[0]
    write(table(files[::-1]), path, row_group_size=1)
    with pytest.raises(DataError) as caught:
        source[5]
    assert str(caught.value) == f"{path} was changed while it was read; begin again"


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_truncated_files(files, tmp_path, suffix, kept):
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        write(table(files), path)
    else:
        with pa.ipc.new_stream(str(path), table(files).schema) as writer:
            writer.write_table(table(files))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert error(path).startswith(f"cannot read {path}, which is truncated, damaged or of another format: ")


def test_an_image_that_is_none(files, tmp_path):
    path = write(table([b"no image", *files[1:]]), tmp_path / "x.parquet")
    assert error(path, in_memory=True) == f"{path}: row 0 is not a readable picture"
    loaded = load(path, in_memory=True, corrupt="skip")
    assert loaded.skipped == (f"{path}: row 0 is not a readable picture",)


def test_values_and_shards_that_do_not_fit(files, tmp_path):
    path = write(table(files, labels=[0, None, *[1] * 10]), tmp_path / "x.parquet")
    assert error(path) == f"{path}: row 1 has no label"
    path = write(table(files, labels=[0, -1, *[1] * 10]), path)
    assert error(path) == f"{path}: row 1: its label must lie in 0..2, got -1"
    path = write(table(files, labels=[0, 3, *[1] * 10]), path)
    assert error(path) == f"{path}: row 1: its label must lie in 0..2, got 3"
    path = write(table(files).slice(0, 0), path)
    assert error(path) == f"{path} holds no images"
    path = write(table(files), tmp_path / "set" / "train-0.parquet")
    second = write(table(files), tmp_path / "set" / "train-1.parquet", ["x", "y", "z"])
    assert error(path.parent) == f"{second} must have the classes of train-0.parquet, found x, y, z"
    write(table(files).rename_columns(["image", "labels"]), second)
    assert error(path.parent) == (
        f"{second} must have a column 'label', found image, labels; data.label_column = 'labels'?"
    )  # fmt: skip
    second.unlink()
    write(table(files), tmp_path / "set" / "test.parquet", ["zebra", "ape", "dog"])
    assert error(path.parent) == (
        f"{path.parent}: train-0.parquet and test.parquet must have the same classes; only train-0.parquet has 猫; "
        "only test.parquet has dog"
    )


def test_without_pyarrow(files, tmp_path, monkeypatch):
    path = write(table(files), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.compute", None)
    assert error(path, ConfigError) == (
        'Parquet and Arrow files need pyarrow, the "data" extra: python -m pip install "jaxconv[data]"'
    )


@pytest.mark.parametrize("classes", [True, False])
def test_lists_of_labels(files, tmp_path, classes):
    several = [[k for k in range(3) if row >> k & 1] for row in range(12)]
    labels = several if classes else [[NAMES[k] for k in each] for each in several]
    described = {
        "image": {"_type": "Image"},
        "label": {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "List"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": described}})} if classes else None
    path = tmp_path / "x.parquet"
    pq.write_table(table(files, labels=labels).replace_schema_metadata(metadata), path, row_group_size=5)
    loaded = load(path)
    names = NAMES if classes else sorted(NAMES)
    assert (loaded.task, loaded.classes) == ("multilabel", tuple(names))
    for row, found in zip(loaded.train.rows.tolist(), loaded.train.labels.tolist(), strict=True):
        assert {names[k] for k in np.flatnonzero(found)} == {NAMES[k] for k in several[row]}
    assert error(path, targets=["label"]).startswith(f"{path}: column 'label' must be numbers, found list<")
    wrong = [*labels[:11], labels[11][:1] * 2]
    pq.write_table(table(files, labels=wrong), path)
    assert error(path) == f"{path}: row 11: {wrong[11][0]!r} is among its labels twice"
    pq.write_table(table(files, labels=[*labels[:11], [None]]), path)
    assert error(path) == f"{path}: row 11 lacks a value of label"
    pq.write_table(table(files, labels=[*labels[:11], None]), path)
    assert error(path) == f"{path}: row 11 has no label"
    if classes:
        pq.write_table(table(files, labels=[*labels[:10], [5], []]).replace_schema_metadata(metadata), path)
        assert error(path) == f"{path}: row 10: its label must lie in 0..2, got 5"


def test_lists_in_some_shards(files, tmp_path):
    write(table(files), tmp_path / "set" / "train-0.parquet")
    write(table(files, labels=[[0]] * 12), tmp_path / "set" / "train-1.parquet")
    message = f"{tmp_path / 'set'}: column 'label' must have lists in all files or in none"
    assert error(tmp_path / "set") == message
    write(table(files, labels=[[0, 1], [2]] * 6), tmp_path / "set" / "train-0.parquet")
    assert load(tmp_path / "set").task == "multilabel"
    write(table(files), tmp_path / "set" / "test.parquet")
    assert error(tmp_path / "set") == (
        f"{tmp_path / 'set'}: the labels of both parts must be of one kind, found train-0.parquet lists of int64 [N], "
        "test.parquet int64 [N]"
    )


def test_what_datasets_saves_of_lists(photographs, files, tmp_path):
    hf = pytest.importorskip("datasets")
    hf.disable_progress_bars()
    paths = [str(path) for path in sorted(photographs({}).rglob("*.jpg"))]
    features = hf.Features({"tags": hf.Sequence(hf.ClassLabel(names=NAMES)), "image": hf.Image()})
    hf.Dataset.from_dict({"image": paths, "tags": [[k % 3, (k + 1) % 3] for k in range(12)]}, features).save_to_disk(
        tmp_path / "saved"
    )
    loaded = load(tmp_path / "saved")
    assert (loaded.task, loaded.classes) == ("multilabel", tuple(NAMES))
    for row, found in zip(loaded.train.rows.tolist(), loaded.train.labels.tolist(), strict=True):
        assert sorted(np.flatnonzero(found)) == sorted([row % 3, (row + 1) % 3])
