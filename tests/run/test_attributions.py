"""Attributions on a run's page: which predictions are explained, and their maps."""

import types

import jax
import numpy as np
import pytest
from support.random_images import dataset

import jaxconv as jc
from jaxconv.run.attributions import attributions
from jaxconv.run.finished import Member
from jaxconv.run.tasks import Case, find_task
from jaxconv.training.multilabel import Labels
from jaxconv.training.regression import Residuals
from jaxconv.viz.explanations import Map, map_colors


@pytest.mark.slow
def test_attributions_are_those_of_the_functions(rng, monkeypatch):
    shown = []
    monkeypatch.setattr("jaxconv.run.attributions.small_picture", lambda pixels: shown.append(pixels) or "")
    net = jc.chain(jc.Conv(4, 3), jax.nn.relu, jc.Conv(5, 1), pool=jc.global_avg_pool)
    params, state = net.init(jax.random.key(0), (1, 9, 7, 3))
    images = dataset(rng, list("abcde"), 4, (9, 7, 3))
    cases = [Case(3, 1, "a → b"), Case(0, 4, "c")]
    found = attributions(cases, images, Member(net, params, state, ""))["attributions"]
    assert (found["names"], found["layer"]) == (["image", "Grad-CAM", "saliency"], "conv1")
    assert [item["words"] for item in found["items"]] == ["a → b", "c"]
    pixels = np.stack([images.test[k][0] for k in (3, 0)])
    x = (pixels - np.array(images.mean)) / np.array(images.std)

    def f(x):
        return net.apply(params, state, x)[0]

    cam = jc.explain.grad_cam(jc.explain.at_layer(net, params, state, "conv1"), x, np.array([1, 4]))
    for k in (0, 1):
        np.testing.assert_allclose(shown[3 * k], pixels[k] / 255)
        for at, values in ((1, cam), (2, jc.explain.saliency(f, x, np.array([1, 4])))):
            want = map_colors(pixels[k], Map("", np.asarray(values[k]), False), 255)
            np.testing.assert_allclose(shown[3 * k + at], want, atol=1e-3)
    assert attributions([], images, Member(net, params, state, "")) == {}


def test_attributions_of_a_segmentation_have_their_pixels(rng, monkeypatch):
    shown = []
    monkeypatch.setattr("jaxconv.run.attributions.small_picture", lambda pixels: shown.append(pixels) or "")
    net = jc.chain(jc.Conv(3, 3, padding=1))
    params, state = net.init(jax.random.key(0), (1, 6, 6, 1))
    images, where = dataset(rng, list("abc"), 1, (6, 6, 1)), np.zeros((6, 6), bool)
    where[2:4, 1] = True
    found = attributions([Case(0, 2, "wrong", where)], images, Member(net, params, state, ""))["attributions"]
    assert found["names"] == ["image", "pixels", "Grad-CAM", "saliency"]
    image, x = images.test[0][0] / 255, (images.test[0][0][None] - 120.0) / 60
    np.testing.assert_allclose(shown[1], np.where(where[..., None], image, 0.3 * image))

    def f(x):
        return net.apply(params, state, x)[0]

    heat = np.asarray(jc.explain.saliency(f, x, lambda y: y[:, 2:4, 1, 2].sum(1)))[0]
    assert np.count_nonzero(heat) == 4 * 3  # of the windows of two pixels
    np.testing.assert_allclose(shown[3], map_colors(images.test[0][0], Map("", heat, False), 255), atol=1e-3)


def test_the_worst_labels_and_targets_are_explained():
    names = ("loop", "even")
    found = Labels(np.array([[1, 0], [1, 1]]), np.log([[0.9, 0.2], [0.6, 0.05]]), np.array([0.1, 2.0]))
    cases = find_task("multilabel").cases(found, types.SimpleNamespace(classes=names), None)
    assert cases == [Case(1, 1, "loop, even → loop; even 5 %"), Case(0, 1, "loop → loop; even 20 %")]
    true = np.array([[1.0, 100.0], [2.0, 110.0]])
    guess = np.array([[1.5, 103.0], [2.1, 90.0]])
    error = guess - true
    parts = (error**2).mean(1), np.array([2, 2]), (error**2).sum(0), np.abs(error).sum(0), true.sum(0), (true**2).sum(0)
    images = types.SimpleNamespace(classes=("mass", "size"), test=[(np.zeros((4, 4, 1)), each) for each in true])
    cases = find_task("regression").cases(Residuals(*parts), images, lambda images: guess[::-1])
    assert cases == [Case(1, 1, "image 1: size 110 → 90"), Case(0, 0, "image 0: mass 1 → 1.5")]


def test_the_wrong_pixels_of_a_segmentation_are_explained():
    truth = np.array([[0, 0, 1], [0, 1, 255]], np.uint8)
    answer = np.array([[0, 2, 1], [2, 0, 0]])
    images = types.SimpleNamespace(
        classes=("sky", "sea", "sun"), test=[(np.zeros((2, 3, 3)), types.SimpleNamespace(values=truth, outside=255))]
    )
    found = types.SimpleNamespace(iou=np.array([0.2]))
    [case] = find_task("segmentation").cases(found, images, lambda images: np.eye(3)[answer][None])
    assert case[:3] == (0, 2, "image 0: wrong pixels of sun")
    np.testing.assert_array_equal(case.where, [[0, 1, 0], [1, 0, 0]])
    right = types.SimpleNamespace(values=answer, outside=255)
    images.test = [(np.zeros((2, 3, 3)), right)]
    assert find_task("segmentation").cases(found, images, lambda images: np.eye(3)[answer][None]) == []
