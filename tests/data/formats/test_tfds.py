"""Folders that TensorFlow Datasets built as ArrayRecord: images, labels of all kinds, and builds that are wrong."""

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from support.examples import example
from support.small_images import error, load

from jaxconv._base.errors import DataError
from jaxconv.data.fingerprint import fingerprint

records = pytest.importorskip("array_record.python.array_record_module")
IMAGE = {"pythonClassName": "tensorflow_datasets.core.features.image_feature.Image", "image": {"dtype": "uint8"}}
CLASSES = {
    "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
    "classLabel": {"numClasses": "3"},
}
SEVERAL = {
    "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
    "sequence": {"feature": CLASSES, "length": "-1"},
}
TEXT = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
NUMBER = {"pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar", "tensor": {"dtype": "float32"}}


@pytest.fixture
def build(tmp_path):
    """`build({"train": [shard, …]}, features)`: a folder of shards, each a list of dicts."""

    def made(splits, names=("z", "y", "猫"), **features):
        root = tmp_path / "photos" / "1.0.0"
        root.mkdir(parents=True, exist_ok=True)
        listed = []
        for split, shards in splits.items():
            for number, shard in enumerate(shards):
                name = f"photos-{split}.array_record-{number:05}-of-{len(shards):05}"
                writer = records.ArrayRecordWriter(str(root / name), "group_size:1")
                for item in shard:
                    writer.write(example(item))
                writer.close()
            listed.append({"name": split, "shardLengths": [str(len(shard)) for shard in shards]})
        info = {"name": "photos", "version": "1.0.0", "fileFormat": "array_record", "splits": listed}
        (root / "dataset_info.json").write_text(json.dumps(info))
        features = {"image": IMAGE, "label": CLASSES, "id": TEXT} | features
        described = {"pythonClassName": "FeaturesDict", "featuresDict": {"features": features}}
        (root / "features.json").write_text(json.dumps(described))
        if names:
            (root / "label.labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        return root

    return made


def items(files, rows=range(12), **more):
    return [
        {"image": [files[k]], "label": [k % 3], "id": [b"%d" % (k % 4)]}
        | {name: values[k] for name, values in more.items()}
        for k in rows
    ]


def test_the_images_are_those_of_the_examples(build, files, expected):
    root = build({"test": [items(files, range(9, 12))], "train": [items(files, range(5)), items(files, range(5, 9))]})
    loaded = load(root)
    assert (loaded.classes, loaded.name) == (("z", "y", "猫"), "1.0.0")
    assert (loaded.train.labels.tolist(), loaded.test.labels.tolist()) == ([0, 1, 2] * 3, [0, 1, 2])
    copy = pickle.loads(pickle.dumps(loaded.train))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: np.stack([copy[k][0] for k in range(9)]), range(8)):
            np.testing.assert_array_equal(found, expected[:9])
    np.testing.assert_array_equal([loaded.test[k][0] for k in range(3)], expected[9:])
    assert loaded.train.files[5] == "photos-train.array_record-00001-of-00002: record 0"
    assert (load(root.parent).name, load(root.parent).train.files) == ("photos", loaded.train.files)
    root.with_name("1.0.1").mkdir()
    for name in ("features.json", "dataset_info.json"):
        (root.with_name("1.0.1") / name).write_bytes((root / name).read_bytes())
    assert error(root.parent) == (
        f"{root.parent} has 2 builds of TensorFlow Datasets, 1.0.0, 1.0.1; data.root names one"
    )  # fmt: skip
    root = build({"train": [items(files)], "validation": [items(files, range(2))]}, names=None)
    (root / "label.labels.txt").unlink()
    assert load(root).classes == ("0", "1", "2")


def test_labels_of_other_kinds(build, files):
    several = [[k for k in range(3) if row >> k & 1] for row in range(12)]
    root = build({"train": [items(files, label=several)]}, label=SEVERAL)
    loaded = load(root)
    assert (loaded.task, loaded.classes) == ("multilabel", ("z", "y", "猫"))
    found = dict(zip(loaded.train.files, loaded.train.labels.tolist(), strict=True))
    assert all(labels == [int(name.rpartition(" ")[2]) >> k & 1 for k in range(3)] for name, labels in found.items())
    root = build({"train": [items(files, age=[[k / 7] for k in range(12)])]}, age=NUMBER)
    loaded = load(root, targets=["age"])
    assert loaded.train.labels[:, 0].tolist() == [np.float32(row / 7) for row in loaded.train.rows]
    assert load(root, label_column="id").classes == tuple("0123")
    assert error(root, label_column="age") == (
        f"{root}: 'age' must be classes, found numbers; data.targets = ['age'] predicts them"
    )
    root = build({"train": [items(files, fine=[[k % 2] for k in range(12)])]}, fine=CLASSES)
    assert load(root, label_column="fine").classes == ("0", "1", "2")
    root = build({"train": [items(files, tags=[[b"x;y"], [b""]] * 6)]}, tags=TEXT)
    assert load(root, label_column="tags", label_separator=";").classes == ("x", "y")


def test_the_fingerprint_sees_labels_and_images(build, files):
    changed = [files[0], files[1][:-9] + bytes([files[1][-9] ^ 1]) + files[1][-8:], *files[2:]]
    prints = [str(fingerprint(load(build({"train": [items(each)]})))) for each in (files, changed)]
    prints.append(str(fingerprint(load(build({"train": [items(files, label=[[k % 2] for k in range(12)])]})))))
    assert len({*prints}) == 3


def test_shards_that_are_missing_or_damaged(build, files):
    root = build({"train": [items(files, range(6)), items(files, range(6, 12))]})
    info, shard = root / "dataset_info.json", root / "photos-train.array_record-00001-of-00002"
    content, source = shard.read_bytes(), load(root).train
    for length in (len(content) // 2, 0):
        shard.write_bytes(content[:length])
        assert error(root) == (
            f"{shard} is truncated, damaged or of another build: dataset_info.json says 6 examples, found 0"
        )
    shard.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    assert error(root).startswith(f"{shard}: a record of 0 to 5 is damaged: ")
    shard.unlink()
    assert error(root) == f"{info} lists shards that are not in {root}: {shard.name}"
    with pytest.raises(DataError, match="No such file"):
        source[len(source) - 1]
    listed = json.loads(info.read_text())
    for change, message in [
        ({"fileFormat": "tfrecord"},
         f"{root} was built as tfrecord, which has no random access; "
         'tfds.builder(name, file_format="array_record").download_and_prepare() builds it as array_record'),
        ({"splits": [{"name": "all", "shardLengths": ["6"]}]}, f"{root} must have a part train, found all"),
        ({"splits": [{"name": "train"}]},
         f"{info} must list shards as TensorFlow Datasets writes it: KeyError('shardLengths')"),
        ({"splits": 3}, f"{info} must list splits as TensorFlow Datasets writes it: "),
    ]:  # fmt: skip
        info.write_text(json.dumps(listed | change))
        assert error(root).startswith(message)
    info.write_text("{")
    assert error(root).startswith(f"{info} must be JSON with 'splits', as TensorFlow Datasets writes it: ")


def test_features_and_examples_that_are_wrong(build, files):
    shard = "photos-train.array_record-00000-of-00001"
    root = build({"train": [items(files)]}, image=TEXT)
    path = root / "features.json"
    assert error(root) == f"{path}: 'image' must be an Image, found Text"
    build({"train": [items(files)]})
    assert error(root, image_column="img").startswith(f"{path} must have a column 'img', found image, label, id; ")
    assert error(root, label_column="id", targets=["x"]).startswith(f"{path} must have a column 'x', found image, ")
    path.write_text("[]")
    assert error(root).startswith(f"{path} must be JSON with 'featuresDict', as TensorFlow Datasets writes it: ")
    path.write_text('{"featuresDict": {}}')
    assert error(root) == f"{path} must describe a dict of features, as TensorFlow Datasets writes it"
    for change, message in [
        ({"label": [[0]] * 11 + [[3]]}, "its label must lie in 0..2, got 3"),
        ({"label": [[0]] * 11 + [[-1]]}, "its label must lie in 0..2, got -1"),
        ({"label": [[0]] * 11 + [[]]}, "label must be one value, found 0"),
        ({"image": [[file] for file in files[:11]] + [[b"x", b"y"]]}, "image must be one value, found 2"),
        ({"image": [[file] for file in files[:11]] + [[1]]}, "image must be bytes, found a number"),
    ]:
        root = build({"train": [items(files, **change)]})
        assert error(root) == f"{root / shard}: record 11: {message}"
    root = build({"train": [items(files, label=[[0, 1]] * 11 + [[3]])]}, label=SEVERAL)
    assert error(root) == f"{root / shard}: record 11: its label must lie in 0..2, got 3"
    root = build({"train": [items(files)]})
    writer = records.ArrayRecordWriter(str(root / shard), "group_size:1")
    for _ in range(12):
        writer.write(b"\x0a\xff")
    writer.close()
    assert error(root) == f"{root / shard}: record 0 must be a tf.train.Example: a number is truncated"
    root = build({"train": [items([b"no image", *files[1:]])]})
    with pytest.raises(DataError) as caught:
        load(root, in_memory=True)
    assert str(caught.value) == f"{root / shard}: record 0 is not a readable picture"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_tensorflow_datasets_builds(tmp_path, rng):
    tfds = pytest.importorskip("tensorflow_datasets", exc_type=ImportError)

    class Photos(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.3")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["z", "y", "x"]),
                "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["p", "q"])),
                "age": tfds.features.Scalar(np.float32),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(9), "test": self._generate_examples(3)}

        def _generate_examples(self, count):
            for k in range(count):
                file = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(file, "PNG")
                file.seek(0)
                yield k, {"image": file, "label": k % 3, "tags": [0] * (k % 2) + [1] * (k % 3 > 0), "age": k / 7}

    builder = Photos(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    root = tmp_path / "photos" / "1.2.3"
    for arguments, classes in (({}, "zyx"), ({"label_column": "tags"}, "pq"), ({"targets": ["age"]}, ["age"])):
        loaded = load(root, **arguments)
        assert loaded.classes == tuple(classes)
        for part in ("train", "test"):
            items_of_part, source = builder.as_data_source(part), getattr(loaded, part)
            assert len(items_of_part) == len(source)
            for index, item in enumerate(items_of_part):
                image, label = source[index]
                np.testing.assert_array_equal(image, item["image"])
                tags = [int(k in item["tags"]) for k in range(2)]
                assert np.array_equal(label, {1: [item["age"]], 2: tags, 3: item["label"]}[len(classes)])
