"""Folders of images and masks: layouts, numbers, palettes and colors of classes, and what does not fit."""

import numpy as np
import pytest
from PIL import Image

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import Arrays
from jaxconv.data.mask_files import voc_colors

CLASSES = ("ground", "tree", "house")


def save_mask(path, mask, kind="index"):
    """A mask as numbers, in VOC's palette, or in its colors."""
    picture = Image.fromarray(np.asarray(mask, np.uint8))
    if kind == "palette":
        picture.putpalette(voc_colors().ravel().tolist())
    if kind == "colors":
        picture = Image.fromarray(voc_colors()[mask])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


@pytest.fixture
def pair(tmp_path, rng):
    """`pair("train/images/a.png", "train/masks/a.png", kind)`: writes both; returns image and mask."""

    def write(image, mask, kind="index", height=12, width=18):
        pixels, values = rng.integers(0, 256, (height, width, 3)).astype(np.uint8), rng.integers(0, 3, (height, width))
        values[0, :4] = 255
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / image)
        save_mask(tmp_path / mask, values, kind)
        return pixels, values

    return write


def load(root, **arguments):
    return data.load("masks", root, **{"size": 12, "classes": CLASSES} | arguments)


@pytest.mark.parametrize("layout", ["{part}/{kind}/", "{kind}/{part}/"])
@pytest.mark.parametrize("kind", ["index", "palette", "colors"])
def test_layouts_and_kinds_of_masks(tmp_path, pair, layout, kind):
    expected = {}
    for part in ("train", "val"):
        for name in ("a", "in/b"):
            paths = [layout.format(part=part, kind=folder) + f"{name}.png" for folder in ("images", "masks")]
            expected[part, name] = pair(*paths, kind)
    found = load(tmp_path)
    assert (found.task, found.classes, found.image_shape) == ("segmentation", CLASSES, (12, 12, 3))
    streamed = load(tmp_path, in_memory=False)
    for part, source, other in (("train", found.train, streamed.train), ("val", found.test, streamed.test)):
        assert isinstance(source, Arrays)
        for number, name in enumerate(("a", "in/b")):
            pixels, values = expected[part, name]
            for image, mask in (source[number], other[number]):
                np.testing.assert_array_equal(image, pixels[:, 3:15])  # the square in the center
                np.testing.assert_array_equal(mask.values, values[:, 3:15])
                assert mask.outside == 255


def test_a_mask_is_resized_as_its_image_by_the_nearest_pixel(tmp_path, rng):
    blocks = rng.integers(0, 3, (6, 9))
    for name in ("a", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.kron(60 * blocks, np.ones([8, 8])).astype(np.uint8)).save(tmp_path / f"images/{name}.png")
        save_mask(tmp_path / f"masks/{name}.png", np.kron(blocks, np.ones([8, 8], int)))
    found = load(tmp_path, size=24, channels=1)
    image, mask = found.train[0]
    assert (len(found.train), len(found.test)) == (1, 1)
    assert set(np.unique(mask.values)) == set(np.unique(blocks[:, 1:8]))
    agree = np.abs(image[..., 0] / 60.0 - mask.values) < 0.34  # but where the image is blurred between two blocks
    assert agree.mean() > 0.75


def test_voc(tmp_path, pair):
    for name in ("2007_1", "2007_2"):
        pair(f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png", "palette")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n")
    (lists / "val.txt").write_text("2007_2\n")
    found = load(tmp_path, classes=None)
    assert (len(found.train), len(found.test), len(found.classes), found.classes[15]) == (1, 1, 21, "person")
    (lists / "val.txt").write_text("2007_2\n2007_9\n")
    with pytest.raises(DataError) as caught:
        load(tmp_path, classes=None)
    assert str(caught.value) == (
        f"{lists}/val.txt lists files that {tmp_path} lacks: JPEGImages/2007_9.jpg, SegmentationClass/2007_9.png"
    )


def two(pair):
    for name in "ab":
        pair(f"images/{name}.png", f"masks/{name}.png")


def wrong_value(root):
    mask = np.zeros([12, 18], np.uint8)
    mask[3, 5] = 7
    save_mask(root / "masks/a.png", mask)


def wrong_palette(root):
    picture = Image.fromarray(np.ones([12, 18], np.uint8))
    picture.putpalette([0, 0, 0, 9, 8, 7])
    picture.save(root / "masks/a.png")


def wrong_color(root):
    colors = np.zeros([12, 18, 3], np.uint8)
    colors[2, 1] = 1, 2, 3
    Image.fromarray(colors).save(root / "masks/a.png")


def no_names(root):
    (root / "classes.txt").write_text("ground\n")


MASK, NAMES = "{root}/masks/a.png", {"classes": None}
WRONG = [
    (wrong_value, {}, MASK + " must have classes 0..2, or 255 where none is known; found 7 in row 3, column 5"),
    (wrong_palette, {}, MASK + ": the palette does not match the classes: class 1 must be [128, 0, 0], found "
                        "[9, 8, 7]; data.palette has the colors"),
    (wrong_color, {}, MASK + ": the colors must be those of data.palette; found [1, 2, 3] in row 2, column 1"),
    (lambda root: save_mask(root / "masks/a.png", np.zeros([18, 12])), {},
     MASK + " must be as large as its image: it is 12×18, its image {root}/images/a.png is 18×12"),
    (lambda root: (root / "masks/a.png").unlink(), {},
     "{root}: every image needs a mask of the same name; images without a mask: images/a.png"),
    (lambda root: save_mask(root / "masks/c.png", np.zeros([12, 18])), {},
     "{root}: every image needs a mask of the same name; masks without an image: masks/c.png"),
    (lambda root: (root / "masks/notes.txt").write_text(""), {},
     "{root}/masks has a file that is no image: notes.txt; move it elsewhere"),
    (lambda root: (root / "masks").rename(root / "mosks"), {},
     "{root} must have folders images and masks, or train and val with these; it lacks masks"),
    (no_names, NAMES, "{root} needs two or more different classes, got ground"),
    (lambda root: None, NAMES, '{root} needs the names of its classes: data.classes = ["background", …], or one a line '
                               "in {root}/classes.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "arguments", "message"), WRONG)
def test_what_does_not_fit_is_named(tmp_path, pair, change, arguments, message):
    two(pair)
    change(tmp_path)
    with pytest.raises(DataError) as caught:
        load(tmp_path, **arguments)
    assert str(caught.value) == message.format(root=tmp_path)


def test_a_palette_of_the_config_and_an_image_of_one_class(tmp_path, pair):
    two(pair)
    wrong_palette(tmp_path)
    found = load(tmp_path, palette=((0, 0, 0), (9, 8, 7), (1, 1, 1)), in_memory=False, test_share=0.5)
    masks = [source[0][1].values for source in (found.train, found.test)]
    assert any((mask == 1).all() for mask in masks)  # legal
    for name in "cd":
        pair(f"images/{name}.png", f"masks/{name}.png")
    skipping = load(tmp_path, corrupt="skip", test_share=0.5)
    assert len(skipping.train) + len(skipping.test) == 3
    assert [message.startswith(f"{tmp_path}/masks/a.png: the palette") for message in skipping.skipped] == [True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ignore_index": 2}, "data.ignore_index: must be no class, up to 255, got 2"),
        ({"palette": ((0, 0, 0),)}, "data.palette: must have a color [0..255, 0..255, 0..255] for each of 3 classes"),
        ({"size": 0, "channels": 2}, "data.size: must be at least 1, got 0\ndata.channels: must be 1 or 3, got 2"),
    ],
)
def test_bad_arguments(tmp_path, pair, arguments, message):
    two(pair)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("interpolation", ["lanczos", "bilinear"])
def test_images_are_resized_by_a_filter_and_masks_by_the_nearest_pixel(tmp_path, pair, interpolation):
    for name in "ab":
        pixels, values = pair(f"images/{name}.png", f"masks/{name}.png")
    found = load(tmp_path, size=7, interpolation=interpolation, in_memory=False)
    assert found.interpolation == interpolation
    image, mask = next(part[0] for part in (found.train, found.test) if part.images[0] == "images/b.png")
    box = (3, 0, 15, 12)
    filter = Image.Resampling[interpolation.upper()]
    np.testing.assert_array_equal(image, Image.fromarray(pixels).resize((7, 7), filter, box=box))
    nearest = Image.fromarray(values.astype(np.uint8)).resize((7, 7), Image.Resampling.NEAREST, box=box)
    np.testing.assert_array_equal(mask.values, nearest)
    with pytest.raises(ConfigError, match=r"data\.interpolation: must be .*, got 'linear'"):
        load(tmp_path, interpolation="linear")
