"""Effective receptive fields: gradient magnitude of a unit with respect to each input cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import Params, State
from jaxconv.analysis.walk import walk
from jaxconv.explain.outputs import check_layer, output_structs, outputs, spread
from jaxconv.layers.layer import Layer, lift

__all__ = ["EffectiveField", "effective_field", "effective_fields"]


@dataclasses.dataclass(frozen=True, eq=False)
class EffectiveField:
    """Effective and theoretical receptive field of one unit of a layer.

    Attributes:
      layer: its path.
      unit: index on the axes of the layer's output that correspond to input axes; () if none does.
      heat: float32 [*spatial], the mean over images of the gradient magnitude, summed over channels.
      box: the theoretical field: first and last cell on each spatial axis, within the input.
    """

    layer: str
    unit: tuple[int, ...]
    heat: np.ndarray
    box: tuple[tuple[int, int], ...]

    @property
    def size(self) -> tuple[int, ...]:
        """Cells of the theoretical field on each axis."""
        return tuple(last - first + 1 for first, last in self.box)

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        """First and last cell with a nonzero gradient on each axis; (0, -1) if there is none."""
        pairs = []
        for axis in range(self.heat.ndim):
            along = np.flatnonzero(self.heat.any(axis=tuple(a for a in range(self.heat.ndim) if a != axis)))
            pairs.append((int(along[0]), int(along[-1])) if len(along) else (0, -1))
        return tuple(pairs)

    def within(self, share: float = 0.95) -> tuple[int, ...]:
        """Sides of the smallest box around the center of the theoretical field that contains a share of the gradient.

        The box grows by one cell on every side at a time, within the theoretical field.
        """
        total, grown = float(self.heat.sum(dtype=np.float64)), 0
        while True:
            middle = [(first + last) // 2 for first, last in self.box]
            odd = [(first + last) % 2 for first, last in self.box]
            box = [
                (max(first, at - grown), min(last, at + even + grown))
                for (first, last), at, even in zip(self.box, middle, odd, strict=True)
            ]
            held = float(self.heat[tuple(slice(a, b + 1) for a, b in box)].sum(dtype=np.float64))
            if held >= share * total * (1 - 1e-6) or box == list(self.box):
                return tuple(b - a + 1 for a, b in box)
            grown += 1


def effective_field(
    net: Layer | Callable[..., Any],
    images: Any,
    *,
    params: Any = None,
    state: Any = None,
    layer: str | None = None,
    unit: Sequence[int] | None = None,
    channel: int | None = None,
    axes: Sequence[int] | None = None,
    seed: int = 0,
) -> EffectiveField:
    """Effective receptive field of one unit: the gradient magnitude at each input cell, averaged over images.

    The theoretical field contains every cell that can influence the unit. Cells near its border usually have little
    influence, as few paths connect them to the unit.

    Args:
      net: a Layer, or a function from images to one array, of whichever library.
      images: [N, *spatial, C] as the net takes them; more images give a smoother result.
      params, state: of a Layer; from `init` if omitted.
      layer: path of a layer, "stage1/conv0"; the last one if omitted.
      unit: index on the layer's spatial axes; the center if omitted.
      channel: the channel to differentiate. If omitted, all channels are, each with a random sign per image: in a
        plain sum they can cancel, as those of a softmax do.
      axes: the spatial axes of the images; all between the first and the last if omitted (2, 3 for NCHW).
      seed: for these signs, and for omitted params.

    Returns:
      An EffectiveField, which includes the theoretical field.

    Raises:
      ShapeError: if the layer, unit or channel does not exist, or does not depend on the image.

    Source: Luo et al., Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, 2016.

    >>> from jaxconv.layers import Conv, chain
    >>> net = chain(Conv(4, 3), Conv(4, 3, stride=2))
    >>> found = effective_field(net, np.ones((1, 9, 9, 1)))
    >>> found.layer, found.unit, found.box, found.heat.shape
    ('conv1', (1, 1), ((2, 6), (2, 6)), (9, 9))
    """
    watched = _Traced(net, images, params, state, axes, seed)
    layer = watched.names[-1] if layer is None else check_layer(layer, watched.names)
    return watched.field(layer, unit, channel)


def effective_fields(
    net: Layer | Callable[..., Any],
    images: Any,
    *,
    params: Any = None,
    state: Any = None,
    layers: Sequence[str] | None = None,
    most: int | None = None,
    axes: Sequence[int] | None = None,
    seed: int = 0,
) -> list[EffectiveField]:
    """Effective receptive fields of the center unit of each layer.

    Args:
      net, images, params, state, axes, seed: as in `effective_field`.
      layers: paths; if omitted, each layer that has spatial axes and widens the theoretical field.
      most: maximum number of layers, evenly spaced, with the first and the last.

    Returns:
      A list of EffectiveField, in layer order.

    Raises:
      ShapeError: if a layer does not exist.

    >>> from jaxconv.layers import Conv, chain
    >>> found = effective_fields(chain(Conv(4, 3), jax.nn.relu, Conv(4, 3)), np.ones((1, 9, 9, 1)))
    >>> [(field.layer, field.size) for field in found]
    [('conv0', (3, 3)), ('conv1', (5, 5))]
    """
    watched = _Traced(net, images, params, state, axes, seed)
    wanted = watched.widening() if layers is None else [check_layer(layer, watched.names) for layer in layers]
    return [watched.field(layer, None, None) for layer in (wanted if most is None else spread(wanted, most))]


class _Traced:
    """A net, images, and the theoretical receptive field of each layer."""

    def __init__(self, net: Any, images: Any, params: Any, state: Any, axes: Any, seed: int):
        self.net, self.seed = lift(net), seed
        images = jnp.asarray(images)
        self.images = images if jnp.issubdtype(images.dtype, jnp.floating) else images.astype(jnp.float32)
        self.axes = tuple(range(1, images.ndim - 1)) if axes is None else tuple(axes)
        if not images.size or not self.axes or not all(0 < a < images.ndim for a in self.axes):
            came = f"images {images.shape}" + (f", axes={axes}" if axes is not None else "")
            raise ShapeError("images must be [N, *spatial, C], at least one", got=came)
        one = jax.ShapeDtypeStruct((1, *images.shape[1:]), self.images.dtype)
        if params is None or state is None:
            born = self.net.init(jax.random.key(seed), one)
            params, state = born[0] if params is None else params, born[1] if state is None else state
        self.params, self.state = params, state
        structs = output_structs(self.net, params, state, one)
        numbers = {name for name, y in structs.items() if jnp.issubdtype(getattr(y, "dtype", bool), jnp.floating)}

        def run(x: Any) -> list[Any]:
            return [y for name, y in outputs(self.net, params, state, x).items() if name in numbers]

        found = walk(jax.make_jaxpr(run)(one), [None], 0, self.axes).outputs
        seeing = zip((name for name in structs if name in numbers), found, strict=True)
        self.seen = {name: (array.shape, array.fields) for name, array in seeing if array.fields is not None}
        self.names = list(self.seen)
        if not self.names:
            raise ShapeError("a layer must depend on the images", got=f"{self.net.name} does not")

    def field(self, layer: str, unit: Sequence[int] | None, channel: int | None) -> EffectiveField:
        """The effective field of a unit of a layer."""
        shape, fields = self.seen[layer]
        dims = tuple(dict.fromkeys(f.dim for f in fields if f is not None and f.dim is not None))
        rest = tuple(d for d in range(1, len(shape)) if d not in dims)
        place = self._place(layer, tuple(shape[d] for d in dims), unit)
        at: list[Any] = [slice(None)] * len(shape)
        for d, i in zip(dims, place, strict=True):
            at[d] = i
        if channel is not None:
            self._check_channel(layer, [shape[d] for d in rest], channel)
            at[rest[0]] = channel
        return EffectiveField(layer, place, self._heat(layer, tuple(at)), self._box(shape, fields, at))

    def widening(self) -> list[str]:
        """Layers whose center unit has a larger field than the layer before, but not the full input."""
        kept: list[str] = []
        size: tuple[int, ...] = ()
        for name, (shape, fields) in self.seen.items():
            at = [shape[d] // 2 if any(f and f.dim == d for f in fields) else slice(None) for d in range(len(shape))]
            found = tuple(b - a + 1 for a, b in self._box(shape, fields, at))
            if found != size and any(f and f.dim is not None for f in fields):
                kept, size = [*kept, name], found
        return kept

    def _heat(self, layer: str, at: tuple[Any, ...]) -> np.ndarray:
        """Mean gradient magnitude, [*spatial]."""

        def run(params: Params, state: State, x: Any) -> Any:
            y, pull = jax.vjp(lambda x: outputs(self.net, params, state, x)[layer], x)
            signs = jax.random.rademacher(jax.random.key(self.seed), y[at].shape, y.dtype)
            (back,) = pull(jnp.zeros_like(y).at[at].set(signs))
            size = jnp.abs(back.astype(jnp.float32)).mean(0)
            return size.sum([d - 1 for d in range(1, x.ndim) if d not in self.axes])

        return np.asarray(jax.jit(run)(self.params, self.state, self.images))

    def _box(self, shape: Sequence[int], fields: Any, at: Sequence[Any]) -> tuple[tuple[int, int], ...]:
        """The hull of the fields of the units `at`, within the input."""
        box = []
        for field in fields:
            low, high = (np.broadcast_to(a, shape)[tuple(at)] for a in (field.low, field.high))
            box.append((int(low.min()), int(high.max())) if (low <= high).any() else (0, -1))
        return tuple(box)

    def _place(self, layer: str, shape: tuple[int, ...], unit: Sequence[int] | None) -> tuple[int, ...]:
        if unit is None:
            return tuple(n // 2 for n in shape)
        place = tuple(unit) if isinstance(unit, Sequence) else (unit,)
        there = len(place) == len(shape) and all(i in range(n) for i, n in zip(place, shape, strict=True))
        if not there:
            raise ShapeError(
                f"unit must be one of the {'×'.join(map(str, shape))} of {layer}"
                if shape
                else f"{layer} has no spatial axes to choose a unit on",
                got=f"unit={unit!r}",
                fix=f"at most {tuple(n - 1 for n in shape)}" if shape else "channel=0 for one of its numbers",
            )
        return place

    def _check_channel(self, layer: str, counts: Sequence[int], channel: int) -> None:
        if len(counts) != 1 or not isinstance(channel, int) or not 0 <= channel < counts[0]:
            has = (
                f"{layer} has {count(counts[0], 'channel')}" if len(counts) == 1 else f"{layer} has no axis of channels"
            )
            fix = f"0 to {counts[0] - 1}" if len(counts) == 1 else ""
            raise ShapeError(f"channel must exist: {has}", got=f"{channel=}", fix=fix)
