"""Views of test-time augmentation, tested against torch and against the airbench recipe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import F, torch

import jaxconv as jc
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.training import Views, evaluate
from jaxconv.training.evaluation import make_eval_step, make_log_probabilities

SHAPE = (7, 9, 2)
"""Neither square nor of an even size."""


@pytest.fixture
def net():
    return jc.chain(jc.Conv(3, 3), jnp.tanh, jc.flatten, jc.Dense(4))


@pytest.fixture
def trained(net, getkey):
    return net.init(getkey(), (1, *SHAPE))


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, *SHAPE)).astype(np.float32)


@pytest.fixture
def logits(net, trained):
    """`images [N, C, H, W] of torch -> logits` of the net."""

    def run(x):
        return torch.tensor(np.asarray(net.apply(*trained, jnp.asarray(x.permute(0, 2, 3, 1).numpy()))[0]))

    return run


def channels_first(images):
    return torch.tensor(images).permute(0, 3, 1, 2)


def log_p(net, trained, images, **views):
    return np.asarray(make_log_probabilities(net, views=Views(**views))(*trained, jnp.asarray(images)))


@pytest.mark.parametrize("pixels", [1, 2])
def test_mirror_and_shift_are_airbenchs(net, trained, images, logits, pixels, assert_close):
    def mirrored(x):  # infer_mirror of airbench94.py
        return 0.5 * logits(x) + 0.5 * logits(x.flip(-1))

    x = channels_first(images)
    rows, columns = x.shape[2:]
    padded = F.pad(x, (pixels,) * 4, "reflect")
    far = 2 * pixels
    corners = [padded[:, :, :rows, :columns], padded[:, :, far : far + rows, far : far + columns]]
    expected = 0.5 * mirrored(x) + 0.5 * torch.stack([mirrored(corner) for corner in corners]).mean(0)
    assert_close(log_p(net, trained, images, flip=True, shift=pixels), F.log_softmax(expected, -1).numpy())


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_crops_are_torchs(net, trained, images, logits, share, assert_close):
    x = channels_first(images)
    rows, columns = (round(share * n) for n in SHAPE[:2])
    top, left = SHAPE[0] - rows, SHAPE[1] - columns
    places = [(0, 0), (0, left), (top, 0), (top, left), (round(top / 2), round(left / 2))]  # torchvision's five_crop
    crops = [x[:, :, i : i + rows, j : j + columns] for i, j in places]
    resized = [F.interpolate(crop, SHAPE[:2], mode="bilinear", align_corners=False) for crop in crops]
    expected = torch.stack([logits(crop) for crop in resized]).mean(0)
    assert_close(log_p(net, trained, images, five_crop=share), F.log_softmax(expected, -1).numpy())


def test_the_mean_of_probabilities(net, trained, images, assert_close):
    views = Views(flip=True, shift=1, five_crop=0.7, padding_mode="zeros", mean_of="probabilities")
    assert views.count == 30
    assert sum(views.weights) == pytest.approx(1)
    plain = make_log_probabilities(net)
    each = [jnp.exp(plain(*trained, view)) for view in views(jnp.asarray(images))]
    expected = sum(weight * chance for weight, chance in zip(views.weights, each, strict=True))
    found = np.exp(np.asarray(make_log_probabilities(net, views=views)(*trained, jnp.asarray(images))))
    assert_close(found, np.asarray(expected))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(("mode", "filled"), [("zeros", 0), ("edge", None), ("wrap", None)])
def test_shifts_move_the_image_and_fill_its_border(mode, filled):
    image = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4, 1)
    _, up, down = np.asarray(Views(shift=1, padding_mode=mode)(jnp.asarray(image)))
    np.testing.assert_array_equal(up[0, :-1, :-1], image[0, 1:, 1:])
    np.testing.assert_array_equal(down[0, 1:, 1:], image[0, :-1, :-1])
    outside = {"zeros": filled, "edge": image[0, 2, 1, 0], "wrap": image[0, 0, 1, 0]}[mode]
    assert up[0, 2, 0, 0] == outside
    assert up.dtype == np.uint8


@pytest.mark.slow
def test_views_are_of_the_images_as_stored_and_of_each_member(net, images, getkey, assert_close):
    """Padding is black before normalization, as that of augmentations; members are averaged after their views."""
    pixels = (100 * np.abs(images)).clip(0, 255).astype(np.uint8)
    views = Views(shift=2, padding_mode="zeros", flip=True)
    params, state = jax.vmap(lambda key: net.init(key, (1, *SHAPE)))(jax.random.split(getkey(), 2))
    batch = jc.data.Batch(jnp.asarray(pixels), jnp.array([0, 1, 2]), jnp.ones(3))

    def prepare(x):
        return x.astype(jnp.float32) / 100 - 1

    found = make_eval_step(net, prepare, members=True, views=views)(params, state, batch)
    plain = make_log_probabilities(net)
    members = []
    for number in range(2):
        one = jax.tree.map(lambda leaf, number=number: leaf[number], (params, state))
        logits = sum(w * plain(*one, prepare(view)) for w, view in zip(views.weights, views(batch.image), strict=True))
        members.append(jax.nn.softmax(logits))
    chances = np.stack(members)
    assert_close(np.exp(-np.asarray(found["loss"])), chances[:, np.arange(3), np.arange(3)])
    assert_close(np.asarray(found["mean_confidence"]), chances.mean(0).max(-1))


def test_one_image_and_no_view_but_itself(net, trained, images):
    one, label = np.abs(20 * images[:1]).astype(np.uint8), np.array([2])
    plain = evaluate(net, *trained, one, label)
    same = evaluate(net, *trained, one, label, views=Views())
    assert plain.mean_loss == same.mean_loss
    assert evaluate(net, *trained, one, label, views=Views(flip=True)).loss.shape == (1,)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"shift": -1}, "tta: shift must be a whole number, 0 or more, got -1"),
        ({"flip": 1}, "tta: flip must be true or false, got 1"),
        ({"scales": []}, "tta: scales must be at least one number, got none"),
        ({"scales": [1.0, 0.0]}, "tta: scales must be numbers above 0, got 0.0"),
        ({"window": 0}, "tta: window must be a whole number of pixels, got 0"),
        ({"window": 2.5}, "tta: window must be a whole number of pixels, got 2.5"),
        ({"overlap": 1.0}, "tta: overlap must be a number from 0 to below 1, got 1.0"),
        ({"five_crop": 1.5}, "tta: five_crop must be a number above 0, up to 1, got 1.5"),
        (
            {"mean_of": "logit"},
            "tta: mean_of must be one of logits, probabilities; got 'logit'; did you mean 'logits'?",
        ),
    ],
)
def test_invalid_views(arguments, line):
    with pytest.raises(ConfigError) as caught:
        Views(**arguments)
    assert str(caught.value) == line


def test_a_shift_as_large_as_the_image_is_refused():
    Views(shift=2)(jnp.zeros([1, 3, 9, 1]))
    with pytest.raises(ShapeError) as caught:
        Views(shift=3)(jnp.zeros([1, 3, 9, 1]))
    assert str(caught.value) == "tta.shift of 3×9 images must be at most 2 pixels\n  got: shift=3"
