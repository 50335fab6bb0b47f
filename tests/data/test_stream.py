"""Streams: what a step gets depends on its number alone, and damaged images are named or skipped."""

import functools
import threading
import time

import jax
import numpy as np
import pytest

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import Arrays, Batch
from jaxconv.data.order import batch_indices
from jaxconv.data.stream import evaluation_stream, prefetch_to_device, stream


class Numbers:
    """Image i is filled with i; those in `damaged` cannot be read; each takes a time of its own."""

    image_shape = (3, 2, 1)

    def __init__(self, size=23, damaged=(), seconds=0.0):
        self.size, self.damaged, self.seconds = size, damaged, seconds
        self.read = []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        time.sleep(self.seconds * (index % 5))
        self.read.append(index)
        if index in self.damaged:
            raise DataError(f"image {index}.jpg is damaged")
        return np.full([3, 2, 1], index, np.uint8), index


def plan(size, batch_size=4, seed=0):
    return functools.partial(order, seed, batch_size, size)


def order(seed, batch_size, size, step):
    return batch_indices(seed, step, batch_size, size)


def check(batch, indices):
    assert isinstance(batch, Batch)
    assert (batch.image.dtype, batch.label.dtype, batch.weight.dtype) == (np.uint8, np.int32, np.float32)
    np.testing.assert_array_equal(batch.label, indices)
    np.testing.assert_array_equal(batch.image, np.broadcast_to(np.reshape(indices, [-1, 1, 1, 1]), batch.image.shape))


def same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("start", [0, 1, 5, 6, 13])
def test_a_step_gets_what_its_number_says(start):
    with stream(Numbers(), plan(23), start, 15, threads=3) as batches:
        found = list(batches)
    assert len(found) == 15 - start
    for step, batch in enumerate(found, start):
        check(batch, batch_indices(0, step, 4, 23))
        np.testing.assert_array_equal(batch.weight, np.ones(4))


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (2, 3), (9, 1), (16, 4)])
def test_threads_change_nothing(threads, ahead):
    expected = list(stream(Numbers(), plan(23), 0, 8, threads=1))
    for one, other in zip(
        expected, stream(Numbers(seconds=0.001), plan(23), 0, 8, threads=threads, ahead=ahead), strict=True
    ):
        same(one, other)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 9, 23])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_of_fewer_and_of_more_images_than_parts(batch_size, threads):
    with stream(Numbers(damaged=[5, 6]), plan(23, batch_size), 0, 4, threads=threads, corrupt="skip") as batches:
        for step, batch in enumerate(batches):
            indices = plan(23, batch_size)(step)
            weight = ~np.isin(indices, [5, 6])
            np.testing.assert_array_equal(batch.weight, weight)
            check(batch, np.where(weight, indices, 0))


@pytest.mark.parametrize(("fast", "several"), [(60.0, False), (0.0, True)])
def test_fast_images_are_read_by_one_thread(fast, several, monkeypatch):
    """Two threads would wait for Python's lock; images that take longer than `fast` are read by a thread per core."""
    monkeypatch.setattr("jaxconv.data.stream.cpu_cores", lambda: 4)
    monkeypatch.setattr("jaxconv.data.stream._FAST", fast)
    threads = set()

    class Watched(Numbers):
        def __getitem__(self, index):
            time.sleep(0.01)
            threads.add(threading.get_ident())
            return super().__getitem__(index)

    with stream(Watched(), plan(23), 0, 5) as batches:
        list(batches)
    assert (len(threads - {threading.get_ident()}) > 1) is several


def test_arrays_are_gathered_alike(rng):
    images = rng.integers(0, 256, (23, 5, 4, 3)).astype(np.uint8)
    source = Arrays(images, np.arange(23, dtype=np.int32))

    class Slow:
        image_shape = (5, 4, 3)

        def __len__(self):
            return 23

        def __getitem__(self, index):
            return source[index]

    for make in (
        functools.partial(stream, batches=plan(23), start=2, stop=9),
        functools.partial(evaluation_stream, batch_size=4),
    ):
        found = list(make(source))
        for one, other in zip(found, make(Slow()), strict=True):
            weight = one.weight[:, None, None, None]
            same(one._replace(image=one.image * weight), other._replace(image=other.image * weight))


@pytest.mark.parametrize(("size", "batch_size"), [(10, 3), (10, 10), (3, 8), (1, 1)])
def test_evaluation_counts_every_image_once(size, batch_size):
    source = Numbers(size)
    weight = np.zeros(size)
    for batch in evaluation_stream(source, batch_size, threads=2):
        assert len(batch.image) == batch_size
        np.add.at(weight, batch.label, batch.weight)
    np.testing.assert_array_equal(weight, np.ones(size))
    assert sorted(source.read) == list(range(size)), "what only fills up is not read"


def test_a_damaged_image_fails_at_its_step():
    source = Numbers(damaged=(3, 9))
    batches = stream(source, lambda step: np.arange(4) + 4 * step, 0, 5, threads=2)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == "image 3.jpg is damaged"
    assert list(batches) == [], "a stream that failed is closed"
    ahead = stream(source, lambda step: np.arange(4) + 4 + 4 * step, 0, 5, threads=2)
    check(next(ahead), [4, 5, 6, 7])
    with pytest.raises(DataError, match=r"^image 9.jpg is damaged$"):
        next(ahead)


@pytest.mark.parametrize("by_source", [True, False])
def test_a_damaged_image_weighs_nothing_where_it_is_skipped(by_source):
    source = Numbers(damaged=(3, 9))
    if by_source:
        source.corrupt = "skip"
    batches = stream(source, lambda step: (np.arange(4) + 4 * step) % 12, 0, 6, corrupt=None if by_source else "skip")
    found = list(batches)
    np.testing.assert_array_equal(found[0].weight, [1, 1, 1, 0])
    np.testing.assert_array_equal(found[0].label, [0, 1, 2, 0])
    assert found[0].image[3].max() == 0
    np.testing.assert_array_equal(found[5].weight, [1, 0, 1, 1])
    assert batches.skipped == {"image 3.jpg is damaged": 2, "image 9.jpg is damaged": 2}
    evaluated = evaluation_stream(source, 5, corrupt="skip")
    assert sum(batch.weight.sum() for batch in evaluated) == 21
    assert len(evaluated.skipped) == 2


def test_a_step_of_damaged_images_alone_is_refused():
    batches = stream(Numbers(damaged=(4, 5, 6, 7)), lambda step: np.arange(4) + 4 * step, 0, 3, corrupt="skip")
    next(batches)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == "none of the 4 images of step 1 can be read; the first: image 4.jpg is damaged"


def test_labels_and_shapes_are_checked():
    indices = np.array([3, 9, 11, 4])
    images = np.zeros([23, 3, 2, 1], np.uint8)
    for source in (Numbers(), Arrays(images, np.arange(23, dtype=np.int32))):
        with pytest.raises(DataError) as caught:
            list(stream(source, lambda step: indices, 0, 2, classes=10))
        assert str(caught.value) == "image 11: its label must lie in 0..9, got 11"
    source = Numbers()
    source.image_shape = (3, 2, 3)
    with pytest.raises(DataError) as caught:
        list(stream(source, lambda step: indices, 0, 2))
    assert str(caught.value) == "image 3 must be uint8 [3, 2, 3] as the others, it is uint8 [3, 2, 1]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0, "ahead": 0, "corrupt": "skp"},
         "threads must be at least 1, got 0; ahead must be at least 1, got 0; "
         "corrupt must be 'fail' or 'skip', got 'skp'"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"batches": lambda step: np.array([3, 23])}, "batches(1) must lie in 0..22, the 23 images; got 3 to 23"),
        ({"batches": lambda step: np.arange(step)}, "batches(2) must be 1 whole numbers, as at the first step; "
         "got int64 [2]"),
        ({"batches": lambda step: np.zeros(2)}, "batches(1) must be 2 whole numbers, as at the first step; "
         "got float64 [2]"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigError) as caught:
        list(stream(**{"source": Numbers(), "batches": plan(23), "start": 1, "stop": 4} | arguments))
    assert str(caught.value) == message


def test_an_error_of_the_source_itself_comes_through():
    class Broken(Numbers):
        def __getitem__(self, index):
            raise ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        list(stream(Broken(), plan(23), 0, 2, corrupt="skip"))


def test_it_reads_ahead_and_says_how_long_one_waited():
    source = Numbers(seconds=0.002)
    with stream(source, plan(23), 0, 20, threads=4, ahead=2) as batches:
        deadline = time.perf_counter() + 5
        while len(source.read) < 8 and time.perf_counter() < deadline:
            time.sleep(0.01)
        assert 8 <= len(source.read) <= 16, "two batches, before any is asked for"
        began = time.perf_counter()
        list(batches)
        assert 0 < batches.waited <= time.perf_counter() - began


def test_closing_stops_the_threads():
    before = threading.active_count()
    for leave in (lambda s: s.close(), lambda s: list(s), lambda s: s.__exit__()):
        batches = stream(Numbers(seconds=0.001), plan(23), 0, 10, threads=4)
        next(batches)
        leave(batches)
        batches.close()
        assert next(batches, None) is None
    deadline = time.perf_counter() + 5
    while threading.active_count() > before and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_no_steps():
    assert list(stream(Numbers(), plan(23), 7, 7)) == []


def test_a_folder_streams_as_it_lies_in_memory(photographs):
    root = photographs({"train/a": 5, "train/b": 4, "val/a": 1, "val/b": 1})
    (root / "train" / "a" / "002.jpg").write_bytes(b"")
    loaded = {
        in_memory: data.load("images", root, size=8, in_memory=in_memory, corrupt="skip").train
        for in_memory in (True, False)
    }
    batches = evaluation_stream(loaded[False], 4, classes=2)
    image, label, weight = (np.concatenate(parts) for parts in zip(*(batch[:3] for batch in batches), strict=True))
    np.testing.assert_array_equal(image[weight == 1], loaded[True].images)
    np.testing.assert_array_equal(label[weight == 1], loaded[True].labels)
    assert batches.skipped == {f"{root / 'train' / 'a' / '002.jpg'} is not a readable picture": 1}


def test_a_data_set_of_grains(rng):
    import grain

    images = rng.integers(0, 256, (9, 5, 4)).astype(np.uint8)
    items = [{"image": image, "label": label} for label, image in enumerate(images)]
    source = grain.MapDataset.source(items).map(lambda item: item | {"image": 255 - item["image"]})
    train = data.Dataset("own", source, source, tuple("abcdefghi"), (0.0,), (1.0,)).train
    for step, batch in enumerate(stream(train, plan(9), 0, 4, classes=9)):
        indices = batch_indices(0, step, 4, 9)
        np.testing.assert_array_equal(batch.label, indices)
        np.testing.assert_array_equal(batch.image[..., 0], 255 - images[indices])


def test_to_the_device():
    taken = []

    def batches():
        for number in range(5):
            taken.append(number)
            yield Batch(np.full([2], number), np.full([2], number), np.ones(2))

    found = []
    for batch in prefetch_to_device(batches(), size=2):
        assert len(taken) <= len(found) + 2
        assert isinstance(batch.image, jax.Array)
        found.append(int(batch.image[0]))
    assert found == list(range(5))
    assert list(prefetch_to_device([])) == []
