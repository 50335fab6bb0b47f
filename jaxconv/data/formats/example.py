"""Messages of `tf.train.Example`, TensorFlow's record of named lists of bytes or numbers, without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

__all__ = ["parse_example"]

Value = int | memoryview
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5  # wire types
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3  # the kinds of lists


def parse_example(record: bytes, names: Collection[str]) -> dict[str, list[bytes] | list[float] | list[int]]:
    """Some of the features of an example.

    Args:
      record: the serialized message.
      names: features to read; others are passed over.

    Returns:
      The list of each feature that the example has.

    Raises:
      ValueError: if the record is not a valid tf.train.Example.

    >>> parse_example(bytes.fromhex("0a100a0e0a056c6162656c12051a030a0103"), ["label"])
    {'label': [3]}
    """
    found: dict[str, list[bytes] | list[float] | list[int]] = {}
    for features in _messages(memoryview(record), 1):
        for entry in _messages(features, 1):
            fields = dict(_fields(entry))
            key, feature = fields.get(1, memoryview(b"")), fields.get(2, memoryview(b""))
            if isinstance(key, int) or isinstance(feature, int):
                raise ValueError("a feature is not an entry of a map")
            name = bytes(key).decode()
            if name in names:
                found[name] = _list(feature)
    return found


def _list(feature: memoryview) -> list[bytes] | list[float] | list[int]:
    for kind, value in _fields(feature):
        if isinstance(value, int):
            continue
        if kind == _BYTES:
            return [bytes(each) for each in _messages(value, 1)]
        if kind == _FLOATS:
            packed = b"".join(_four(each) for number, each in _fields(value) if number == 1)
            return list(struct.unpack(f"<{len(packed) // 4}f", packed))
        if kind == _INTEGERS:
            numbers: list[int] = []
            for number, each in _fields(value):
                numbers += [] if number != 1 else [_signed(each)] if isinstance(each, int) else _varints(each)
            return numbers
    return []


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of a field of bytes or messages."""
    for number, value in _fields(data):
        if number == wanted:
            if isinstance(value, int):
                raise ValueError(f"field {number} must be bytes")
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            size, place = _varint(data, place)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"a field has the type {kind}")
        if place + size > len(data):
            raise ValueError("a field is truncated")
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits in each byte, low ones first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("a number is truncated")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number is longer than 64 bits")


def _varints(data: memoryview) -> list[int]:
    numbers, place = [], 0
    while place < len(data):
        value, place = _varint(data, place)
        numbers.append(_signed(value))
    return numbers


def _signed(value: int) -> int:
    """The signed number of 64 bits that a varint means."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _four(value: Value) -> bytes:
    if isinstance(value, int) or len(value) % 4:
        raise ValueError("a list of floats has another length")
    return bytes(value)
