"""Names of files of parts and shards, and folders that only look like them."""

import pytest

from jaxconv._base.errors import DataError
from jaxconv.data.formats.shards import part_files


@pytest.fixture
def found(tmp_path):
    """`found(names)`: names of the files of each part among these, which end in .tar; a name in / is a folder."""

    def find(names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if name.endswith("/") else path.write_bytes(b"")
        return [[str(path.relative_to(tmp_path)) for path in part] for part in part_files(tmp_path, ".tar")]

    return find


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train.tar"], [["train.tar"]]),
        (["b.tar", "a.TAR", "c.csv", ".d.tar"], [["a.TAR", "b.tar"]]),
        (["000001.tar", "000000.tar"], [["000000.tar", "000001.tar"]]),
        (["train-0.tar", "train-1.tar", "val_0.tar", "test.tar"], [["train-0.tar", "train-1.tar"], ["val_0.tar"]]),
        (["Training2.tar", "TEST-00-of-01.tar"], [["Training2.tar"], ["TEST-00-of-01.tar"]]),
        (["train/1.tar", "train/0.tar", "valid/9.tar"], [["train/0.tar", "train/1.tar"], ["valid/9.tar"]]),
        (["data/train-0.tar", "data/test-0.tar", "README.md"], [["data/train-0.tar"], ["data/test-0.tar"]]),
        (["train.tar", "cat/"], [["train.tar"]]),
        # Folders of classes, with a file beside or among the images.
        (["some.tar", "cat/"], []),
        (["train.tar", "train/cat/", "val/cat/"], []),
        (["train/x.tar", "train/cat/"], []),
        (["data/x.tar", "cat/x.tar"], []),
        (["x.tar/"], []),
        ([], []),
    ],
)
def test_parts(found, names, parts):
    assert found(names) == parts


def test_shards_that_are_missing(found, tmp_path):
    with pytest.raises(DataError) as caught:
        found(["train-001-of-004.tar", "train-003-of-004.tar", "val-0-of-1.tar"])
    assert str(caught.value) == (
        f"{tmp_path} must have 4 shards of train-001-of-004.tar, it lacks train-000-of-004.tar, train-002-of-004.tar"
    )
