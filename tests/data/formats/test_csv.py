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
        f"{path.parent / 'a' / '001.jpg'}: its label must be one of x, y, z, the classes of the training images; "
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
    table(["age,path", "old,a/000.jpg"])
    assert error(path, targets=["age"]) == f"{path}: age must be numbers, got 'old' in row 0"
    table(["age,path", "1,a/000.jpg", "nan,a/001.jpg"])
    assert error(path, targets=["age"]) == f"{path}: age must be a finite number in every row, got nan in row 1"


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
        (["path,label", "a/0.jpg,x", "a/000.jpg,x"], "{path} lists files that are not in {root}: a/0.jpg"),
        (["path,label", *ROWS, "a/../a/000.jpg,x"],
         "{path} lists files twice: a/../a/000.jpg; remove all but one line of each"),
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
        f"data.image_column, label_column and targets are for .csv, .tsv, .parquet, .arrow, .tar, not for {path.parent}"
    )
