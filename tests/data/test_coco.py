"""COCO's instances and panoptic annotations as masks, against pycocotools and torchvision's rule; and what is wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.coco_masks import segment

# pycocotools 2.0 makes arrays without NumPy 2's `copy`
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 40, "name": "cup"}]
SIDE = 20


def polygons(rng, count):
    return [(rng.uniform(0, SIDE, (6, 2))).ravel().tolist() for _ in range(count)]


def write(root, content, part, kind="instances"):
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{kind}_{part}.json").write_text(json.dumps(content))


def images(root, part, count, side=SIDE):
    (root / part).mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.full([side, side, 3], 10 * number, np.uint8)
        Image.fromarray(pixels).save(root / part / f"{number}.png")
    return [{"id": 100 + k, "file_name": f"{k}.png", "width": SIDE, "height": SIDE} for k in range(count)]


@pytest.fixture
def instances(tmp_path, rng):
    """Writes train and val of three images each; returns their content. The last image has no annotations."""
    made = {}
    for part in ("train2017", "val2017"):
        annotations = []
        for image in (100, 101):
            for category in (7, 2, 40, 2):
                own = {"id": len(annotations), "image_id": image, "category_id": category, "iscrowd": 0}
                annotations.append(own | {"segmentation": polygons(rng, 2)})
        noise = rng.random((SIDE, SIDE)) < 0.1
        runs = np.diff(np.flatnonzero(np.diff(noise.T.ravel(), prepend=False)), prepend=0, append=0)
        runs[-1] = SIDE * SIDE - runs[:-1].sum()
        crowd = {"counts": runs.tolist(), "size": [SIDE, SIDE]}
        annotations.append({"id": 99, "image_id": 101, "category_id": 2, "iscrowd": 1, "segmentation": crowd})
        made[part] = {"images": images(tmp_path, part, 3), "annotations": annotations, "categories": CATEGORIES}
        write(tmp_path, made[part], part)
    return made


def load(root, **arguments):
    return data.load("coco", root, **{"size": SIDE} | arguments)


def expected(content, image, classes, decode):
    """torchvision's rule: the class where one annotation is, 255 where there are more; 255 for crowds, too."""
    chosen = [a for a in content["annotations"] if a["image_id"] == image and a["category_id"] in classes]
    inside = np.array([decode(a) for a in chosen]).reshape(-1, SIDE, SIDE)
    labels = np.array([255 if a["iscrowd"] else classes[a["category_id"]] for a in chosen])
    target = (inside * labels[:, None, None]).max(0, initial=0)
    target[inside.sum(0) > 1] = 255
    return target


@pytest.mark.parametrize(
    ("categories", "names", "classes"),
    [(None, ("background", "cat", "dog", "cup"), {2: 1, 7: 2, 40: 3}),
     (("cup", "cat"), ("background", "cup", "cat"), {40: 1, 2: 2})],
)  # fmt: skip
def test_instances(tmp_path, instances, categories, names, classes):
    api = pytest.importorskip("pycocotools.mask")

    def decode(annotation):
        encoded = api.frPyObjects(annotation["segmentation"], SIDE, SIDE)
        return api.decode(encoded if isinstance(encoded, dict) else api.merge(encoded))

    found = load(tmp_path, categories=categories)
    assert (found.task, found.classes, len(found.train), len(found.test)) == ("segmentation", names, 3, 3)
    streamed = load(tmp_path, categories=categories, in_memory=False)
    for part, sources in (("train2017", (found.train, streamed.train)), ("val2017", (found.test, streamed.test))):
        for number in range(3):
            truth = expected(instances[part], 100 + number, classes, decode)
            for source in sources:
                image, mask = source[number]
                assert (image == 10 * number).all()
                np.testing.assert_array_equal(mask.values, truth)
                assert mask.outside == 255
    assert (found.train[2][1].values == 0).all()  # an image without annotations is all background
    assert {1, 2, 255} <= set(np.unique(found.train.labels.values))


def test_one_file_is_split_and_images_lie_in_one_folder(tmp_path, instances, rng):
    for file in (tmp_path / "annotations").iterdir():
        file.unlink()
    (tmp_path / "train2017").rename(tmp_path / "images")
    (tmp_path / "annotations").rmdir()
    (tmp_path / "instances_default.json").write_text(json.dumps(instances["train2017"]))
    found = load(tmp_path, test_share=0.4, in_memory=False)
    assert (len(found.train), len(found.test)) == (2, 1)
    assert sorted([*found.train.images, *found.test.images]) == ["images/0.png", "images/1.png", "images/2.png"]
    one, other = load(tmp_path, in_memory=False).train, load(tmp_path, in_memory=False, seed=1).train
    assert one.fingerprint() != other.fingerprint()
    moved = tmp_path.parent / f"{tmp_path.name}_moved"
    tmp_path.rename(moved)
    assert load(moved, in_memory=False).train.fingerprint() == one.fingerprint()


@pytest.fixture
def panoptic(tmp_path, rng):
    made = {}
    for part in ("train", "val"):
        (tmp_path / "annotations" / f"panoptic_{part}").mkdir(parents=True, exist_ok=True)
        annotations, ids = [], {}
        for number in range(2):
            numbers = np.array([0, 3, 70000, 256 * 255 + 1, 16_777_215])
            of = rng.permutation(np.arange(SIDE * SIDE) % 5).reshape(SIDE, SIDE)
            ids[number] = of
            rgb = np.stack([numbers[of] >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
            Image.fromarray(rgb).save(tmp_path / "annotations" / f"panoptic_{part}" / f"{number}.png")
            kinds = [(2, 0), (7, 0), (40, 0), (2, 1)]
            segments = [
                {"id": int(n), "category_id": c, "iscrowd": crowd}
                for n, (c, crowd) in zip(numbers[1:], kinds, strict=True)
            ]
            annotations.append({"image_id": 100 + number, "file_name": f"{number}.png", "segments_info": segments})
        made[part] = {"images": images(tmp_path, part, 2), "annotations": annotations, "categories": CATEGORIES}
        write(tmp_path, made[part], part, "panoptic")
        made[part]["ids"] = ids
    return made


@pytest.mark.parametrize(
    ("categories", "names", "labels"),
    [(None, ("cat", "dog", "cup"), [255, 0, 1, 2, 255]),
     (("cup", "dog", "cat"), ("cup", "dog", "cat"), [255, 2, 1, 0, 255]),
     (("dog",), ("background", "dog"), [255, 0, 1, 0, 255])],
)  # fmt: skip
def test_panoptic(tmp_path, panoptic, categories, names, labels):
    found = load(tmp_path, kind="panoptic", categories=categories)
    assert found.classes == names
    for part, source in (("train", found.train), ("val", found.test)):
        for number in range(2):
            np.testing.assert_array_equal(source[number][1].values, np.array(labels)[panoptic[part]["ids"][number]])


FILE = "{root}/annotations/instances_train2017.json"


def change(part, index, **values):
    def apply(root, content):
        content[part][index] |= values

    return apply


def drop(part, index, key):
    return lambda root, content: content[part][index].pop(key)


def smaller(root, content):
    Image.new("RGB", (18, SIDE)).save(root / "train2017/1.png")


def other_categories(root, content):
    content["categories"] = CATEGORIES[:2]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] != 40]


WRONG = [
    (smaller, FILE + ", image 101 must be as large as its image: it is 20×20, its image {root}/train2017/1.png is "
              "18×20"),
    (change("annotations", 3, image_id=9), FILE + ": annotation 3 is of image 9, which the file does not list"),
    (change("annotations", 3, category_id=9), FILE + ": annotation 3 is of category 9, which the file does not list"),
    (change("annotations", 0, segmentation=[]),
     FILE + ", image 100: annotation 0 must have polygons or a run-length encoding, found []"),
    (drop("annotations", 2, "image_id"), FILE + ': annotations[2] must have "image_id" (int), found None'),
    (drop("images", 1, "width"), FILE + ': images[1] must have "width" (int), found None'),
    (change("images", 1, width=0), FILE + ": image 101 must have from 1 to 268,435,456 pixels, found [20, 0]"),
    (change("images", 1, id=100), FILE + ": images must have different ids; more than once occurs 100"),
    (change("images", 1, file_name="x.png"), FILE + " lists files that {root} lacks: {root}/train2017/x.png"),
    (change("images", 1, file_name="/etc/hostname"), FILE + " lists files that {root} lacks: /etc/hostname"),
    (lambda root, content: content.pop("annotations"), FILE + ": annotations must be a list, found NoneType"),
    (other_categories, "instances_train2017.json and instances_val2017.json in {root}/annotations must have the same "
                       "categories"),
    (lambda root, content: (root / "train2017").rename(root / "pictures"),
     "{root} must have the images of instances_train2017.json in a folder train2017, images/train2017 or images"),
    (lambda root, content: (root / "annotations/instances_val2014.json").write_text("{{}}"),
     "{root}/annotations must have instances_train*.json and instances_val*.json, one of each, or one file; found "
     "instances_train2017.json, instances_val2014.json, instances_val2017.json"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), WRONG)
def test_what_does_not_fit_is_named(tmp_path, instances, damage, message):
    content = instances["train2017"]
    damage(tmp_path, content)
    write(tmp_path, content, "train2017")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert str(caught.value) == message.format(root=tmp_path)


PNG = "{root}/annotations/panoptic_train/0.png"


def gray(root, content):
    Image.new("L", (SIDE, SIDE)).save(root / "annotations/panoptic_train/0.png")


def narrow(root, content):
    Image.new("RGB", (18, SIDE)).save(root / "annotations/panoptic_train/0.png")
    content["annotations"][0]["segments_info"] = []


PANOPTIC = [
    (gray, PNG + " must have colors, which number segments; found a picture of mode L"),
    (narrow, PNG + " must be as large as its image: it is 18×20, its image {root}/train/0.png is 20×20"),
    (lambda root, content: content["annotations"].pop(0),
     "{root}/annotations/panoptic_train.json must have one annotation of each image; it has not of image 100"),
    (lambda root, content: (root / "annotations/panoptic_train/0.png").unlink(),
     "{root}/annotations/panoptic_train.json lists files that {root} lacks: " + PNG),
    (lambda root, content: content["annotations"][0]["segments_info"].append({"id": 5, "category_id": 2}),
     PNG + " lacks segments of its segments_info: 5"),
    (lambda root, content: content["annotations"][0]["segments_info"].append({"id": 5, "category_id": 3}),
     "{root}/annotations/panoptic_train.json: annotation 0.png is of category 3, which the file does not list"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), PANOPTIC)
def test_what_does_not_fit_a_panoptic_file_is_named(tmp_path, panoptic, damage, message):
    content = {key: value for key, value in panoptic["train"].items() if key != "ids"}
    damage(tmp_path, content)
    write(tmp_path, content, "train", "panoptic")
    with pytest.raises(DataError) as caught:
        load(tmp_path, kind="panoptic")
    assert str(caught.value) == message.format(root=tmp_path)


def test_an_unlisted_segment_is_named(tmp_path, panoptic):
    content = {key: value for key, value in panoptic["train"].items() if key != "ids"}
    content["annotations"][0]["segments_info"].pop(1)
    write(tmp_path, content, "train", "panoptic")
    row, column = np.argwhere(panoptic["train"]["ids"][0] == 2)[0]
    with pytest.raises(DataError) as caught:
        load(tmp_path, kind="panoptic")
    assert str(caught.value) == (
        f"{tmp_path}/annotations/panoptic_train/0.png: segment 70000 in row {row}, column {column} is not in its "
        "segments_info"
    )
    skipping = load(tmp_path, kind="panoptic", corrupt="skip")
    assert (len(skipping.train), len(skipping.skipped)) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"categories": ("cot",)},
            "data.categories: must be one of cat, dog, cup; got 'cot'; did you mean 'cat'?",
        ),
        ({"categories": ("cat", "cat")}, "data.categories: must be different names, got ['cat', 'cat']"),
        ({"ignore_index": 3}, "data.ignore_index: must be no class, up to 255, got 3"),
        ({"size": 0}, "data.size: must be at least 1, got 0"),
    ],
)
def test_bad_arguments(tmp_path, instances, arguments, message):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **arguments)
    assert str(caught.value) == message


def test_no_folder_and_no_json(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="one of each, or one file; found none"):
        load(tmp_path)
    (tmp_path / "instances_x.json").write_text("{")
    with pytest.raises(DataError, match="must be a JSON file of annotations"):
        load(tmp_path)
    assert segment([[0, 0, 2, 0, 2, 2, 0, 2]], (2, 2)).all()
