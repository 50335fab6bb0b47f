"""CSV files of paths and labels: columns, classes, targets, parts, and lines that are wrong."""

import numpy as np
import pytest
from support.small_images import error, load

from jaxconv._base.errors import ConfigError
from jaxconv.data.fingerprint import fingerprint
from jaxconv.data.stream import evaluation_stream


@pytest.fixture
def table(photographs):
    """`table(lines, name)`: a CSV file above the folders a (3 images) and b (2)."""
    root = photographs({"a": 3, "b": 2})

    def write(lines, name="list.csv"):
        (root / name).write_text("\n".join(lines), encoding="utf-8")
        return root / name

    return write


def labels_by_file(loaded):
    parts = loaded.train, loaded.test
    return {name: row.tolist() for part in parts for name, row in zip(part.files, part.labels, strict=True)}


ROWS = ["a/000.jpg,x", "a/001.jpg,x", "b/000.jpg,y", "b/001.jpg,y"]


def test_the_images_are_those_of_the_lines(table, tmp_path):
    path = table(["note, label ,path", *(f'"a ""b"",\nc",{"dog" if k else "猫"},a/00{k}.jpg' for k in range(3))])
    loaded = load(path, test_share=0.5)
    expected = load(path.parent)
    whole = {file: expected.train[index][0] for index, file in enumerate(expected.train.files)}
    whole |= {file: expected.test[index][0] for index, file in enumerate(expected.test.files)}
    assert loaded.classes == ("dog", "猫")
    seen = {}
    for source in (loaded.train, loaded.test):
        for index, file in enumerate(source.files):
            image, label = source[index]
            np.testing.assert_array_equal(image, whole[file])
            seen[file] = label
    assert seen == {"a/000.jpg": 1, "a/001.jpg": 0, "a/002.jpg": 0}


def test_tabs_blank_lines_and_other_columns(table):
    path = table(["file\tkind", "", "a/000.jpg\tx", "a/001.jpg\tx", "b/000.jpg\ty", "b/001.jpg\ty", ""], "list.tsv")
    loaded = load(path, image_column="file", label_column="kind")
    assert (loaded.classes, len(loaded.train), len(loaded.test)) == (("x", "y"), 2, 2)


def test_train_and_val_files_of_a_folder(table):
    path = table(["path,label", "b/001.jpg,y", "a/000.jpg,x", "b/000.jpg,z"], "train.csv")
    table(["path,label", "a/001.jpg,x"], "Val.csv")
    loaded = load(path.parent)
    assert loaded.classes == ("x", "y", "z")
    assert (loaded.train.files, loaded.train.labels.tolist()) == (("b/001.jpg", "a/000.jpg", "b/000.jpg"), [1, 0, 2])
    assert (loaded.test.files, loaded.test.labels.tolist()) == (("a/001.jpg",), [0])
    table(["path,label", "a/001.jpg,zz"], "Val.csv")
    assert error(path.parent) == (
        f"{path.parent / 'Val.csv'}, line 2: its label must be one of x, y, z, the classes of the training images; "
        "got 'zz'; did you mean 'z'?"
    )
    table(["path,label", "a/001.jpg,x"], "train-1.csv")
    assert error(path.parent) == (
        f"{path.parent} must have one such file, found {path.parent / 'train-1.csv'}, {path}; data.root names one"
    )


def test_a_file_beside_folders_of_classes_is_passed_over(table):
    path = table(["path,label", *ROWS], "labels.csv")
    assert load(path.parent).classes == ("a", "b")


def test_numbers_are_class_numbers(table):
    path = table(["path,label", "a/000.jpg,3", "a/001.jpg,0", "b/000.jpg,0", "b/001.jpg,3"])
    loaded = load(path)
    assert loaded.classes == ("0", "1", "2", "3")
    assert loaded.train.labels.tolist() in ([3, 0], [0, 3])
    for numbers, found in (("12", "1 to 2"), (["0", "65536"], "0 to 65536"), (["-1", "0"], "-1 to 0")):
        path = table(["path,label", *(f"a/00{k}.jpg,{number}" for k, number in enumerate(numbers))])
        assert error(path) == (
            f"{path}: labels must be names, or count classes from 0 up to 65535, found {found}"
        )  # fmt: skip


def test_targets_make_a_regression(table):
    path = table(["age,path,weight", *(f"{k / 2},a/00{k}.jpg,{-k}e1" for k in range(3)), "7,b/000.jpg,0"])
    loaded = load(path, targets=["weight", "age"], in_memory=True)
    assert (loaded.task, loaded.classes) == ("regression", ("weight", "age"))
    rows = np.concatenate([loaded.train.labels, loaded.test.labels])
    assert rows.dtype == np.float32
    assert sorted(rows.tolist()) == [[-20, 1], [-10, 0.5], [0, 0], [0, 7]]
    streamed = load(path, targets=["weight", "age"])
    image, label = streamed.train[1]
    np.testing.assert_array_equal(image, loaded.train.images[1])
    np.testing.assert_array_equal(label, loaded.train.labels[1])
    assert streamed.train.label_struct.shape == (2,)
    with evaluation_stream(streamed.train, 2, classes=2) as batches:
        assert next(batches).label.shape == (2, 2)


def test_several_labels_in_a_column(table):
    path = table(
        ["path,label", "a/000.jpg,sun | Sea", "a/001.jpg,", '"a/002.jpg","|sea"', "b/000.jpg,猫", "b/001.jpg,Sea"]
    )
    loaded = load(path, label_separator="|", in_memory=True)
    assert (loaded.task, loaded.classes) == ("multilabel", ("Sea", "sea", "sun", "猫"))
    streamed = load(path, label_separator="|")
    assert labels_by_file(streamed) == {
        "a/000.jpg": [1, 0, 1, 0], "a/001.jpg": [0] * 4, "a/002.jpg": [0, 1, 0, 0], "b/000.jpg": [0, 0, 0, 1],
        "b/001.jpg": [1, 0, 0, 0],
    }  # fmt: skip
    np.testing.assert_array_equal(loaded.train.labels, streamed.train.labels)
    assert (streamed.train.label_struct.shape, streamed.train.label_struct.dtype) == ((4,), np.int32)
    with evaluation_stream(streamed.train, 3, classes=4) as batches:
        np.testing.assert_array_equal(np.concatenate([batch.label for batch in batches])[:4], streamed.train.labels)
    table(["path,label", "a/000.jpg,0 10", "a/001.jpg,2"])
    assert load(path, label_separator=" ").classes == tuple(map(str, range(11)))


def test_several_labels_of_both_parts(table):
    root = table(["path,label", "a/000.jpg,x;y", "a/001.jpg,"], "train.csv").parent
    path = table(["path,label", "b/000.jpg,", "b/001.jpg,y;x"], "val.csv")
    loaded = load(root, label_separator=";")
    assert (loaded.train.labels.tolist(), loaded.test.labels.tolist()) == ([[1, 1], [0, 0]], [[0, 0], [1, 1]])
    table(["path,label", "b/000.jpg,", "b/001.jpg,y;X"], "val.csv")
    assert error(root, label_separator=";") == (
        f"{path}, line 3: its label must be one of x, y, the classes of the training images; got 'X'; did you mean 'x'?"
    )
    table(["path,label", "b/000.jpg,x;y;x"], "val.csv")
    assert error(root, label_separator=";") == f"{path}, line 2: 'x' is among its labels twice"
    table(["path,label", "b/000.jpg"], "val.csv")
    assert error(root, label_separator=";") == f"{path}, line 2: label has no value"
    for cells, found in (([",", ";"], "none"), (["x", "x"], "x")):
        table(["path,label", *(f"a/00{k}.jpg,{cell}" for k, cell in enumerate(cells))], "train.csv")
        table(["path,label", "b/000.jpg,"], "val.csv")
        assert error(root, label_separator=";") == (f"{root} must have at least two labels, found {found}")


def test_a_column_for_each_label(table):
    path = table(["sea,path,sun,note", "1,a/000.jpg,0,", "0.0,a/001.jpg,1.0,?", "True,b/000.jpg,FALSE,"])
    loaded = load(path, labels=["sun", "sea"])
    assert (loaded.task, loaded.classes) == ("multilabel", ("sun", "sea"))
    assert labels_by_file(loaded) == {"a/000.jpg": [0, 1], "a/001.jpg": [1, 0], "b/000.jpg": [0, 1]}
    prints = [fingerprint(loaded)]
    table(["sea,path,sun", "1,a/000.jpg,0", "0,a/001.jpg,1", "1,b/000.jpg,1"])
    assert fingerprint(load(path, labels=["sun", "sea"])) not in prints


@pytest.mark.parametrize(
    ("key", "cell", "must"),
    [
        ("targets", "old", "a finite number, got 'old'"),
        ("targets", "nan", "a finite number, got nan"),
        ("targets", "-inf", "a finite number, got -inf"),
        ("targets", "1e39", "a finite number, got 1e+39"),
        ("targets", " ", None),
        ("labels", "2", "0 or 1, got '2'"),
        ("labels", "-1", "0 or 1, got '-1'"),
        ("labels", "nan", "0 or 1, got 'nan'"),
        ("labels", "yes", "0 or 1, got 'yes'"),
        ("labels", "", None),
    ],
)  # fmt: skip
def test_cells_that_are_no_numbers(table, key, cell, must):
    path = table(["path,a,b", '"a/\n000.jpg",0,1', "", "a/001.jpg,1,1", f"b/000.jpg,1,{cell}"])
    (path.parent / "a" / "000.jpg").rename(path.parent / "a" / "\n000.jpg")
    message = "b has no value" if must is None else f"b must be {must}"
    assert error(path, **{key: ["a", "b"]}) == f"{path}, line 6: {message}"


def test_keys_that_contradict_each_other(table):
    path = table(["path,label", *ROWS])
    for arguments, message in [
        ({"targets": ["a"], "labels": ["b", "c"]},
         "data.targets: at most one of targets, labels and label_separator, got also labels"),
        ({"labels": ["b", "c"], "label_separator": ";"},
         "data.labels: at most one of targets, labels and label_separator, got also label_separator"),
        ({"labels": ["b"]},
         "data.labels: must name at least two columns of 0 and 1, got b; data.label_column = 'b' makes it two classes"),
        ({"labels": ["b", "c", "b"]}, "data.labels: must name each column once, got b twice"),
        ({"label_separator": ""}, "data.label_separator: must not be empty"),
    ]:  # fmt: skip
        assert error(path, ConfigError, **arguments) == message
    assert (
        error(path, labels=["labl", "x"])
        == f"{path} must have a column 'labl', found path, label; data.labels = 'label'?"
    )


def test_the_fingerprint_sees_labels_and_files(table):
    path = table(["path,label", *ROWS])
    prints = [fingerprint(load(path))]
    table(["path,label", *ROWS[:-1], "b/001.jpg,x"])
    prints.append(fingerprint(load(path)))
    with open(path.parent / "a" / "000.jpg", "ab") as file:
        file.write(b"x")
    prints.append(fingerprint(load(path)))
    assert len({str(each) for each in prints}) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "{path} must have a column 'path', found none; data.image_column names another"),
        (["path,labels"], "{path} must have a column 'label', found path, labels; data.label_column = 'labels'?"),
        (["path,label"], "{path} lists no images"),
        (["path,label", "a/000.jpg,x", "a/001.jpg"], "{path}, line 3: label has no value"),
        (["path,label", ",x"], "{path}, line 2: path has no value"),
        (["path,label", "a/0.jpg,x", "a/000.jpg,x"], "{path} lists images that are not in {root}: a/0.jpg (line 2)"),
        (["path,label", *ROWS, "a/../a/000.jpg,x"],
         "{path}, line 6: a/../a/000.jpg is listed in line 2 already; remove one of the two"),
        (["path,label,label", "a/000.jpg,x,y"], "{path} has two columns 'label'; remove or rename one"),
        (["path,label", 'a/000.jpg,"x'], "cannot read {path}: unexpected end of data"),
    ],
)  # fmt: skip
def test_what_a_file_must_not_be(table, lines, message):
    path = table(lines)
    assert error(path) == message.format(path=path, root=path.parent)


def test_files_that_are_no_text_and_columns_that_nothing_has(table):
    path = table([])
    path.write_bytes(b"path,label\n\xff\xfe")
    assert error(path).startswith(f"cannot read {path}: 'utf-8' codec can't decode")
    assert error(path.parent, ConfigError, label_column="label") == (
        "data.label_column: must be for a table, .csv, .tsv, .parquet, .arrow, .tar, .h5, .hdf5, .lmdb; got "
        f"{path.parent}"
    )
