"""Augmentations from a config's table."""

import tomllib

import jax
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.augment import (
    augment_problems,
    compose,
    cutmix,
    cutout,
    flip,
    from_config,
    random_choice,
    registry,
    shift,
    sometimes,
)

KNOWN = (
    "repeat, flip, shift, expand, random_resized_crop, rotate, affine, perspective, elastic, color_jitter, "
    "grayscale, invert, posterize, solarize, autocontrast, equalize, sharpness, gaussian_blur, gaussian_noise, "
    "trivial_augment, rand_augment, augmix, cutout, random_erasing, mixup, cutmix"
)


def test_a_table_means_the_calls_in_its_order(batch_of):
    table = tomllib.loads("""
        shift = {pixels = 1, padding_mode = "edge", probability = 0.5}
        flip = true
        mixup = false
        cutout = 2
        cutmix = {probability = 0.5}
    """)
    by_hand = compose(
        sometimes(shift(1, "edge"), 0.5), flip(), cutout(2, peak=300), cutmix(num_classes=4, probability=0.5)
    )
    assert augment_problems(table) == []
    programs = [
        str(jax.make_jaxpr(augment)(jax.random.key(0), batch_of((6, 4, 4, 1))))
        for augment in (from_config(table, 4, 300), by_hand, compose(flip()))
    ]
    assert programs[0] == programs[1] != programs[2]


def test_a_random_choice_is_a_table_of_augmentations(batch_of):
    table = tomllib.loads("random_choice = {flip = 1.0, cutout = {size = 2, fill = 1000}, probability = 0.5}")
    by_hand = compose(sometimes(random_choice(flip(1.0), cutout(2, 1000, peak=65535)), 0.5))
    assert augment_problems(table) == []
    programs = [
        str(jax.make_jaxpr(augment)(jax.random.key(0), batch_of((6, 4, 4, 1))))
        for augment in (from_config(table, 4, 65535), by_hand)
    ]
    assert programs[0] == programs[1]
    assert augment_problems({"random_choice": False}) == []
    assert augment_problems({"random_choice": {"flop": 1, "flip": 2, "probability": 3}}) == [
        f"augment.random_choice: must be one of {KNOWN}, random_choice; got 'flop'; did you mean 'flip'?",
        "augment.random_choice.flip: probability must be a number from 0 to 1, got 2",
    ]
    assert augment_problems({"random_choice": {"flip": True, "probability": 3}}) == [
        "augment.random_choice: probability must be a number from 0 to 1, got 3"
    ]
    assert augment_problems({"random_choice": {}}) == ["augment.random_choice: expected at least one augmentation"]
    assert augment_problems({"random_choice": True}) == [
        "augment.random_choice: must be a table of augmentations, got True"
    ]


def test_nothing_is_no_change(batch_of):
    batch = batch_of((2, 3, 3, 1))
    for table in ({}, {"flip": False}):
        assert augment_problems(table) == []
        assert from_config(table, 10)(jax.random.key(0), batch) is batch


def test_peak_comes_from_the_data():
    assert augment_problems({"cutout": {"size": 2, "fill": 1000}}) == []
    from_config({"cutout": {"size": 2, "fill": 1000}}, num_classes=2, peak=65535)
    with pytest.raises(ConfigError, match="fill must be mean, noise or a number from 0 to 255, got 1000"):
        from_config({"cutout": {"size": 2, "fill": 1000}}, num_classes=2)


def test_every_mistake_has_its_line():
    table = tomllib.loads("""
        shfit = 2
        flip = 1.5
        shift = true
        expand = "one"
        mixup = {alhpa = 0.2, num_classes = 10}
        rotate = {degrees = 200, padding_mode = "zero", probability = 0.5}
        color_jitter = {hue = 0.7, contrast = -1, probability = 0.5}
        cutout = {size = 2, probability = 7}
        expand2 = 1
        affine = [1, 2]
        random_resized_crop = {ratio = [2, 1]}
    """)
    table["random_erasing"] = {"fill": "zero"}
    expected = [
        f"augment: must be one of {KNOWN}, random_choice; got 'shfit'; did you mean 'shift'?",
        "augment.flip: probability must be a number from 0 to 1, got 1.5",
        "augment.shift.pixels: must be given; shift has no default for it",
        "augment.expand: pixels must be a whole number, 1 or more, got 'one'",
        "augment.mixup.alhpa: mixup takes alpha, probability; did you mean 'alpha'?",
        "augment.mixup.num_classes: mixup takes alpha, probability",
        "augment.rotate: degrees must be a number from 0 to 180, got 200",
        "augment.rotate: padding_mode must be one of zeros, reflect, edge, wrap; got 'zero'; did you mean 'zeros'?",
        "augment.color_jitter: contrast must be a number, 0 or more, got -1",
        "augment.color_jitter: hue must be a number from 0 to 0.5, got 0.7",
        "augment.cutout: probability must be a number from 0 to 1, got 7",
        f"augment: must be one of {KNOWN}, random_choice; got 'expand2'; did you mean 'expand'?",
        "augment.affine: degrees must be a number from 0 to 180, got [1, 2]",
        "augment.random_resized_crop: ratio must be two numbers above 0, the smaller first, got [2, 1]",
        "augment.random_erasing: fill must be mean, noise or a number from 0, got 'zero'",
    ]
    assert augment_problems(table) == expected
    with pytest.raises(ConfigError) as caught:
        from_config(table, num_classes=10, peak=float("inf"))
    assert str(caught.value) == "\n".join(expected)
    assert augment_problems("flip") == ["augment: must be a table of augmentations, got 'flip'"]
    assert augment_problems({"expand": {"pixels": 1, "probability": "half"}}) == [
        "augment.expand: probability must be a number from 0 to 1, got 'half'"
    ]


def test_the_registry_and_its_first_words():
    assert ", ".join(registry) == KNOWN
