"""Event files, read by a reader that shares nothing with their writer: TFRecord, CRC-32C and protobuf by hand."""

import struct
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.files import WriteError
from jaxconv.run.tensorboard import EventWriter

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 300, 200) + b"\x08\x02\x00\x00\x00 the rest"


def masked_crc(data):
    """CRC-32C bit by bit (RFC 3720, reflected polynomial 0x82F63B78), turned and shifted as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    content = path.read_bytes()
    while content:
        length, crc = struct.unpack("<QI", content[:12])
        assert crc == masked_crc(content[:8])
        data, content = content[12 : 12 + length], content[12 + length :]
        assert len(data) == length
        assert struct.unpack("<I", content[:4]) == (masked_crc(data),)
        content = content[4:]
        yield data


def fields(message):
    """A protobuf message as (number, value): ints, and bytes for all that is no int."""
    while message:
        key, message = varint(message)
        kind = key & 7
        if kind == 0:
            value, message = varint(message)
        else:
            length, message = varint(message) if kind == 2 else ({1: 8, 5: 4}[kind], message)
            value, message = message[:length], message[length:]
        yield key >> 3, value


def varint(message):
    value = shift = 0
    for at, byte in enumerate(message):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, message[at + 1 :]
    raise AssertionError("the message ends within a number")


def events(path):
    """Each event: {"step", and "version", "session", or "values" as (tag, number or picture's fields)}."""
    for record in records(path):
        found = dict(fields(record))
        event = {"step": found.get(2, 0)}
        assert struct.unpack("<d", found[1])[0] > 1.7e9  # seconds since 1970
        if 3 in found:
            event["version"] = found[3].decode()
        if 7 in found:
            event["session"] = dict(fields(found[7]))[1]
        if 5 in found:
            parsed = [dict(fields(value)) for _, value in fields(found[5])]
            event["values"] = [
                (value[1].decode(), struct.unpack("<f", value[2])[0] if 2 in value else dict(fields(value[4])))
                for value in parsed
            ]
        yield event


def files(folder):
    return sorted(folder.iterdir())


def test_the_checksum_is_the_one_of_the_rfc():
    """RFC 3720, B.4: 32 bytes of zeros and 32 rising ones, before masking."""
    for data, crc in [(bytes(32), 0x8A9136AA), (bytes(range(32)), 0x46DD794E)]:
        assert masked_crc(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_every_scalar_comes_back(tmp_path, rng):
    written = [
        (step, dict(zip(["train/loss", "test/accuracy"], rng.normal(size=2), strict=True))) for step in range(50)
    ]
    with EventWriter(tmp_path / "deep" / "run") as writer:
        for step, values in written:
            writer.scalars(step, values)
    (path,) = files(tmp_path / "deep" / "run")
    version, start, *rest = events(path)
    assert version == {"step": 0, "version": "brain.Event:2"}
    assert start == {"step": 0, "session": 1}
    assert [event["step"] for event in rest] == [step for step, _ in written]
    for event, (_, values) in zip(rest, written, strict=True):
        assert dict(event["values"]) == {name: float(np.float32(value)) for name, value in values.items()}


def test_numbers_of_every_kind(tmp_path):
    values = {"a": 1, "b": np.float64(0.25), "c": jnp.asarray(0.5), "d": jnp.asarray(2, jnp.int32), "e": float("inf")}
    with EventWriter(tmp_path) as writer:
        writer.scalars(np.int64(2**40), values)
        writer.scalars(jnp.asarray(7), {"loss of $x$, und größer": np.array(0.125, np.float16)})
    _, _, first, second = events(files(tmp_path)[0])
    assert first == {"step": 2**40, "values": [("a", 1), ("b", 0.25), ("c", 0.5), ("d", 2), ("e", float("inf"))]}
    assert second == {"step": 7, "values": [("loss of $x$, und größer", 0.125)]}


def test_a_picture_comes_back(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.image(3, "confusion", PNG)
    _, _, event = events(files(tmp_path)[0])
    assert event == {"step": 3, "values": [("confusion", {1: 200, 2: 300, 3: 4, 4: PNG})]}


def test_a_resumed_run_has_its_own_file_and_says_where_it_starts(tmp_path):
    """Within one second too, where the names would be the same. TensorBoard drops nothing at the first start."""
    for first, purge_step in [(0, None), (7, 7), (9, 9), (11, None)]:
        with EventWriter(tmp_path, purge_step=purge_step) as writer:
            writer.scalars(first, {"loss": first})
    names = files(tmp_path)
    assert [path.name[-5:] for path in names] == [".0000", ".0001", ".0002", ".0003"]
    for path, step in zip(names, [0, 7, 9, 11], strict=True):
        version, *session, scalars = events(path)
        assert version["version"] == "brain.Event:2"
        assert session == ([{"step": step, "session": 1}] if step < 11 else [])
        assert scalars == {"step": step, "values": [("loss", step)]}


def test_what_is_written_is_on_the_disk_soon(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxconv.run.tensorboard.FLUSH_SECONDS", -1.0)
    writer = EventWriter(tmp_path)
    writer.scalars(1, {"loss": 0.5})
    assert [event["step"] for event in events(files(tmp_path)[0])] == [0, 0, 1]
    writer.close()
    writer.close()


def test_bad_input_is_told(tmp_path):
    (tmp_path / "file").touch()
    writer = EventWriter(tmp_path / "run")
    closed = EventWriter(tmp_path / "run")
    closed.close()
    fix = "\n  fix: its mean, or one name for each"
    for call, error, message in [
        (lambda: writer.scalars(1, {"loss": np.ones(3)}), ShapeError, f"got: 'loss' of shape (3,){fix}"),
        (lambda: writer.scalars(1, {"loss": np.ones([1, 1])}), ShapeError, f"got: 'loss' of shape (1, 1){fix}"),
        (lambda: writer.scalars(1, {"loss": "low"}), ShapeError, f"got: 'loss': 'low'{fix}"),
        (lambda: writer.scalars(1, {"loss": None}), ShapeError, f"got: 'loss': None{fix}"),
        (lambda: writer.scalars(-1, {}), ConfigError, "a step must be a non-negative integer, got -1"),
        (lambda: writer.scalars(0.5, {}), ConfigError, "a step must be a non-negative integer, got 0.5"),
        (
            lambda: EventWriter(tmp_path, purge_step=-1),
            ConfigError,
            "a step must be a non-negative integer, got -1",
        ),
        (
            lambda: writer.image(1, "x", b"GIF89a" + bytes(30)),
            ConfigError,
            r"the image 'x' must be a PNG file, got b'GIF89a\x00\x00'; pictures.png(figure)",
        ),
        (
            lambda: closed.scalars(5, {}),
            ConfigError,
            "this EventWriter is closed, got step 5; write before close()",
        ),
        (
            lambda: EventWriter(tmp_path / "file"),
            WriteError,
            f"cannot write {tmp_path}/file: File exists",
        ),
    ]:
        with pytest.raises(error) as caught:
            call()
        whole = f"a scalar must be one number\n  {message}" if error is ShapeError else message
        assert (type(caught.value), str(caught.value)) == (error, whole)
    writer.close()
    assert [len(list(events(path))) for path in files(tmp_path / "run")] == [2, 1]


@pytest.mark.slow
def test_nothing_heavy_is_imported_before_it_is_used():
    code = "import sys, jaxconv.run.tensorboard; print([n for n in ('tensorboardX', 'google') if n in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
