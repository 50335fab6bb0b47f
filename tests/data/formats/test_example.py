"""Messages of tf.train.Example, beside Google's protobuf: random ones, and bytes that are none."""

import contextlib

import numpy as np
import pytest
from support.examples import example, example_class

from jaxconv.data.formats.example import parse_example


def test_random_features(rng):
    for _ in range(50):
        features = {
            "bytes": [rng.bytes(rng.integers(0, 300)) for _ in range(rng.integers(0, 4))],
            "floats": [float(value) for value in rng.normal(size=rng.integers(1, 5)).astype(np.float32)],
            "integers": rng.integers(-(2**63), 2**63, rng.integers(0, 200), endpoint=False).tolist(),
            "猫/x": [0, -1, 2**63 - 1, -(2**63)],
            "empty": [],
        }
        record = example(features)
        assert parse_example(record, features) == features
        assert parse_example(record, ["integers", "none"]) == {"integers": features["integers"]}


def test_lists_that_are_not_packed_and_feature_without_a_list():
    entry = b"\x0a\x01a\x12\x06\x1a\x04\x08\x05\x08\x07"  # Int64List of two fields, each a varint
    assert parse_example(b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry, ["a"]) == {
        "a": [5, 7]
    }
    made = example_class()()
    made.features.feature["a"].SetInParent()
    assert parse_example(made.SerializeToString(), ["a"]) == {"a": []}
    assert parse_example(b"", ["a"]) == {}


def test_bytes_that_are_no_example(rng):
    record = example({"image": [rng.bytes(100)], "label": [3]})
    for _ in range(2000):
        broken = bytearray(record[: rng.integers(1, len(record) + 1)])
        for _ in range(3):
            broken[rng.integers(len(broken))] = rng.integers(256)
        with contextlib.suppress(ValueError):  # and nothing else
            parse_example(bytes(broken), ["image", "label"])
    for cut in range(1, len(record)):
        with pytest.raises(ValueError):
            parse_example(record[:cut], ["image", "label"])
    for wrong in (b"\x0b", b"\x08\x01", b"\xff" * 20):
        with pytest.raises(ValueError):
            parse_example(wrong, [])
