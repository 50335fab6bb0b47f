"""Masks and boxes that go with their images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment.torchvision_reference import functional

from jaxconv._base.errors import ShapeError
from jaxconv.augment import compose, cutmix, cutout, from_config, mixup, random_choice, sometimes
from jaxconv.augment.joint import clipped, corners, hull
from jaxconv.augment.warp import affine_matrix, inverse, projected, quad_matrix
from jaxconv.data import Batch, Boxes, Mask

GEOMETRIC = {
    "flip": 0.5,
    "shift": 3,
    "expand": 2,
    "random_resized_crop": 0.3,
    "rotate": 60,
    "affine": {"degrees": 20, "scale": [0.7, 1.4], "shear": [20, 10], "translate": 0.2},
    "perspective": 0.5,
    "elastic": {"alpha": 8, "sigma": 2},
    "trivial_augment": True,
    "rand_augment": {"magnitude": 20, "num_ops": 3},
}
POLICIES = {"trivial_augment", "rand_augment"}  # change colors, too
OTHERS = {"color_jitter": 0.5, "cutout": 3, "random_erasing": 0.9, "equalize": 1.0, "gaussian_blur": True}
N, SIZE, OBJECTS = 12, (23, 31), 3


@pytest.fixture
def scene(rng):
    """Images whose pixels are constant in each object, the objects' number + 1; some boxes are padding."""
    mask, boxes = np.zeros([N, *SIZE], np.uint8), np.zeros([N, OBJECTS, 4], np.float32)
    for number in range(N):
        for index in range(OBJECTS - number % 2):
            top, left = rng.integers(0, 15), rng.integers(0, 22)
            height, width = rng.integers(3, 8, 2)
            mask[number, top : top + height, left : left + width] = index + 1
            boxes[number, index] = left, top, left + width, top + height
    label = {"mask": Mask(mask, 9), "boxes": Boxes(boxes), "class": np.arange(N, dtype=np.int32)}
    return Batch(mask[..., None].astype(np.float32), label, np.ones(N, np.float32))


def box_of(found):
    """Left, top, right, bottom of the true pixels."""
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def mostly_slow(*quick):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in quick)) for name in GEOMETRIC]


@pytest.mark.parametrize("name", mostly_slow("affine"))
def test_masks_go_with_images_and_boxes_stay_around_objects(quick_jit, scene, name):
    result = quick_jit(from_config({name: GEOMETRIC[name]}, num_classes=N))(jax.random.key(3), scene)
    result = jax.tree.map(np.asarray, result)
    mask, boxes = result.label["mask"].values, result.label["boxes"].values
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 9}
    np.testing.assert_array_equal(result.label["class"], scene.label["class"])
    if name not in POLICIES:
        image = np.where(mask == 9, 0, mask)  # the image has zeros outside
        flat = result.image[..., 0] == np.round(result.image[..., 0])  # not interpolated between objects
        assert (np.abs(image - result.image[..., 0])[flat] < 0.51).mean() > 0.95
    assert ((boxes >= 0) & (boxes <= np.array([*SIZE[::-1]] * 2))).all()
    seen = 0
    for number in range(N):
        for index in range(OBJECTS):
            found = mask[number] == index + 1
            if not found.any():
                continue
            own = box_of(found)
            box = boxes[number, index]
            assert (box[:2] <= own[:2] + 0.51).all(), (number, index, box, own)
            assert (box[2:] >= own[2:] - 0.51).all(), (number, index, box, own)
            seen += 1
    assert seen > N
    hidden = scene.label["boxes"].areas() == 0
    assert hidden.any()
    assert (boxes[hidden] == 0).all()
    assert not np.array_equal(boxes, scene.label["boxes"].values)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GEOMETRIC if name != "rand_augment"])  # boxes of boxes grow
def test_boxes_are_tight(quick_jit, name):
    """Around one object that stays inside, a box is as small as its corners allow: at most those of a rotated one."""
    mask = np.zeros([40, 64, 64], np.int32)
    mask[:, 24:40, 26:38] = 1
    label = {"mask": Mask(mask), "boxes": Boxes(np.broadcast_to(np.float32([26, 24, 38, 40]), (40, 1, 4)))}
    batch = Batch(mask[..., None].astype(np.float32), label, np.ones(40, np.float32))
    augment = from_config({name: GEOMETRIC[name]}, num_classes=2)
    result = jax.tree.map(np.asarray, quick_jit(augment)(jax.random.key(0), batch))
    for found, box in zip(result.label["mask"].values == 1, result.label["boxes"].values[:, 0], strict=True):
        if not found[[0, -1]].any() and not found[:, [0, -1]].any() and found.any():
            own = box_of(found)
            assert (np.abs(own - box) <= 1.01).all() if name != "elastic" else (own == box).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_augmentations_leave_masks_and_boxes(quick_jit, scene, name):
    result = quick_jit(from_config({name: OTHERS[name]}, num_classes=N))(jax.random.key(3), scene)
    jax.tree.map(np.testing.assert_array_equal, result.label, scene.label)


@pytest.mark.slow
def test_masks_of_several_channels_of_any_type(quick_jit, rng):
    augment = quick_jit(from_config({"affine": GEOMETRIC["affine"]}, num_classes=2))
    values = rng.integers(0, 2, (4, 9, 8, 5))
    one = Mask(values.astype(bool), outside=False)
    many = {"bool": one, "int": Mask(values.astype(np.int32), -1), "depth": Mask(values.astype(np.float16), 0.5)}
    result = augment(jax.random.key(0), Batch(np.zeros([4, 9, 8, 3], np.uint8), many, np.ones(4)))
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), result.label, many)
    inside = np.asarray(result.label["int"].values) >= 0
    assert 0.1 < 1 - inside.mean() < 0.9
    for name, outside in [("bool", False), ("depth", 0.5)]:
        expected = np.where(inside, np.asarray(result.label["int"].values), outside)
        np.testing.assert_array_equal(np.asarray(result.label[name].values, float), expected)
    alone = augment(jax.random.key(0), Batch(np.zeros([4, 9, 8, 3], np.uint8), one, np.ones(4)))
    np.testing.assert_array_equal(alone.label.values, result.label["bool"].values)


@pytest.mark.slow
def test_combinations_choose_labels_with_images(quick_jit, scene):
    flip = from_config({"flip": 1.0}, num_classes=N)
    for augment in (sometimes(flip, 0.5), random_choice(compose(), flip), compose(flip, cutout(2))):
        result = jax.tree.map(np.asarray, quick_jit(augment)(jax.random.key(0), scene))
        mirrored = (result.label["mask"].values == scene.label["mask"].values[:, :, ::-1]).all((1, 2))
        expected = np.where(mirrored[:, None], SIZE[1] - scene.label["boxes"].values[..., 2], 0)
        boxes = result.label["boxes"].values[..., 0]
        given = scene.label["boxes"].values
        full = np.asarray(scene.label["boxes"].areas()) > 0
        np.testing.assert_array_equal(boxes, np.where(full, np.where(mirrored[:, None], expected, given[..., 0]), 0))
    assert mirrored.all()


@pytest.mark.slow
def test_cutmix_pastes_masks(quick_jit, scene):
    image = scene.label["mask"].values[..., None] + 10 * np.arange(N, dtype=np.uint8)[:, None, None, None]
    label = {"mask": scene.label["mask"], "class": scene.label["class"]}
    result = quick_jit(cutmix(num_classes=N))(jax.random.key(0), Batch(image, label, scene.weight))
    np.testing.assert_array_equal(result.label["mask"].values, result.image[..., 0] % 10)
    shares = np.stack([(np.asarray(result.image[..., 0]) // 10 == index).mean((1, 2)) for index in range(N)], 1)
    np.testing.assert_allclose(result.label["class"], shares, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(17, 23), (8, 8), (1, 5)])
@pytest.mark.parametrize(
    ("angle", "translate", "scale", "shear"),
    [
        (30, (0, 0), 1.0, (0, 0)), (-170, (2, -3), 0.7, (0, 0)), (0, (0, 0), 1.5, (20, 0)), (0, (1, 2), 1.0, (0, -30)),
        (12, (-4, 1), 1.2, (15, 25)),
    ],
)  # fmt: skip
def test_affine_maps_are_torchvisions(quick_jit, rng, size, angle, translate, scale, shear):
    """It turns clockwise for a positive angle, and shears the other way round."""
    images = rng.uniform(0, 1, (2, *size, 3)).astype(np.float32)
    numbers = [np.full(2, v, np.float32) for v in (np.radians(-angle), scale, *-np.radians(shear), *translate)]
    turn, magnify, lean, tilt, right, down = numbers

    def matrices():
        return affine_matrix(turn, magnify, (lean, tilt), (right, down), (size[1] / 2, size[0] / 2))

    def move():
        return projected(matrices(), *size, "zeros", 0.0)

    words = {"angle": float(angle), "translate": list(translate), "scale": scale, "shear": list(map(float, shear))}
    got = quick_jit(lambda x: move().image(x))(images)
    np.testing.assert_allclose(got, functional("affine", images, interpolation="bilinear", **words), atol=2e-4)
    got = quick_jit(lambda x: move().mask(x, 0))(images)
    same = np.isclose(got, functional("affine", images, interpolation="nearest", **words), atol=1e-5)
    places = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in size[::-1]), [1.0]), -1)[:, :, 0]
    source = np.einsum("ij,hwj->hwi", np.asarray(matrices()[0], np.float64), places)[..., :2]
    tie = (np.abs(source - np.round(source)) < 1e-3).any(-1)  # a source on the edge of two pixels
    assert same[:, ~tie].all()
    left_top = rng.uniform(0, 5, (2, 4, 2))
    boxes = np.concatenate([left_top, left_top + rng.uniform(0.5, 9, (2, 4, 2))], -1).astype(np.float32)
    check_boxes(boxes, quick_jit(lambda x: move().boxes(x))(boxes), size, "affine_bounding_boxes", **words)


@pytest.mark.slow
def test_fill_is_the_value_outside(quick_jit, rng):
    images = rng.uniform(0, 1, (2, 9, 8, 3)).astype(np.float32)
    still = np.zeros(2, np.float32)
    matrix = affine_matrix(still + 0.5, still + 0.6, (still, still), (still, still), (4, 4.5))
    filled, zeros = (
        quick_jit(lambda x, fill=fill: projected(matrix, 9, 8, "zeros", fill).image(x)) for fill in (0.25, 0.0)
    )
    np.testing.assert_allclose(filled(images), zeros(images - 0.25) + 0.25, atol=1e-6)
    assert (filled(images)[:, 0, 0] == 0.25).all()


def check_boxes(boxes, got, size, name, **words):
    """Our boxes, clipped, are torchvision's."""
    import torch
    from torchvision.transforms.v2 import functional as reference
    from torchvision.tv_tensors import BoundingBoxFormat

    theirs = getattr(reference, name)(
        torch.from_numpy(boxes.reshape(-1, 4)), format=BoundingBoxFormat.XYXY, canvas_size=size, **words
    )
    theirs = (theirs[0] if isinstance(theirs, tuple) else theirs).numpy().reshape(boxes.shape)
    area = np.asarray(Boxes(theirs).areas()) > 1e-4
    ours = np.asarray(clipped(jnp.asarray(boxes), got, *size))
    np.testing.assert_allclose(ours[area], theirs[area], atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(17, 23), (8, 8), (2, 5)])
def test_perspective_is_torchvisions(quick_jit, rng, size):
    """Its coefficients map (x, y) of the result to its source; ours are the inverse of the quadrilateral's matrix."""
    images = rng.uniform(0, 1, (5, *size, 3)).astype(np.float32)
    rows, columns = size
    ends = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    quad = (ends + (1 - 2 * ends) * rng.uniform(0, 1 / 3, (5, 4, 2))) * [columns, rows]
    matrix = quick_jit(lambda q: inverse(quad_matrix(q, rows, columns)))(quad.astype(np.float32))
    for number, one in enumerate(np.asarray(matrix)):
        for corner, point in zip(ends * [columns, rows], quad[number], strict=True):
            source = one @ [*point, 1]
            np.testing.assert_allclose(source[:2] / source[2], corner, atol=1e-3)
        words = {"startpoints": None, "endpoints": None, "coefficients": (one / one[2, 2]).ravel()[:8].tolist()}
        given = images[number : number + 1]
        got = quick_jit(lambda x, m=one: projected(m[None], rows, columns, "zeros", 0.0).image(x))(given)
        theirs = functional("perspective", given, **words)
        np.testing.assert_allclose(got, theirs, atol=1e-3)
        left_top = rng.uniform(0, 0.5, (1, 4, 2)) * [columns, rows]
        boxes = np.concatenate([left_top, left_top + rng.uniform(0.1, 0.5, (1, 4, 2)) * [columns, rows]], -1)
        boxes = boxes.astype(np.float32)
        moved = quick_jit(lambda x, m=one: projected(m[None], rows, columns, "zeros", 0.0).boxes(x))(boxes)
        check_boxes(boxes, moved, size, "perspective_bounding_boxes", **words)


def test_hulls_of_corners(rng):
    boxes = rng.uniform(0, 1, (2, 3, 4)).astype(np.float32)
    boxes[..., 2:] += 1
    np.testing.assert_array_equal(hull(corners(boxes)), boxes)


def test_messages():
    key, images, flip = jax.random.key(0), np.zeros([2, 4, 6, 3], np.uint8), from_config({"flip": True}, 2)
    for label, message in [
        (Mask(np.zeros([2, 2, 3], np.uint8)), "the masks of images [2, 4, 6, 3] must be [2, 4, 6], or [2, 4, 6, C]\n"
         "  got: [2, 2, 3]"),
        (Mask(np.zeros([2, 4, 6], bool)), "the label outside the image must fit the mask's dtype\n"
         "  got: outside=255 for bool\n  fix: Mask(values, outside=False)"),
        (Mask(np.zeros([2, 4, 6], np.uint8), -1), "the label outside the image must fit the mask's dtype\n"
         "  got: outside=-1 for uint8\n  fix: Mask(values, outside=0)"),
        ({"boxes": Boxes(np.zeros([2, 4]))}, "boxes must be floating [2, M, 4]\n  got: float32 [2, 4]"),
        (Boxes(np.zeros([2, 1, 4], int)), "boxes must be floating [2, M, 4]\n  got: int32 [2, 1, 4]"),
    ]:  # fmt: skip
        with pytest.raises(ShapeError) as caught:
            jax.eval_shape(flip, key, Batch(images, label, np.ones(2)))
        assert str(caught.value) == message
    for label, make, message in [
        (Mask(np.zeros([2, 4, 6], np.uint8)), mixup, "labels that are mixed must be those of classes, an array\n"
         "  got: Mask\n  fix: cutmix, which pastes masks, too"),
        (Boxes(np.zeros([2, 1, 4])), cutmix, "labels that are mixed must be those of classes, an array\n  got: Boxes"),
    ]:  # fmt: skip
        with pytest.raises(ShapeError) as caught:
            jax.eval_shape(make(num_classes=2), key, Batch(images, label, np.ones(2)))
        assert str(caught.value) == message
