"""Abstract evaluation of a net layer by layer, up to the first error."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.types import Params, State
from jaxconv.layers.composition import gather, net_input, path_of, run_flow
from jaxconv.layers.layer import Layer, Path, lift, shape_of

__all__ = ["Step", "Walk", "Walker"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a layer: its path, its kind, the shapes of its input and output."""

    path: Path
    kind: str
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Walk:
    """Result of one abstract evaluation.

    Args:
      steps: calls of leaf layers that succeeded, in order.
      y: the net's output, as structs; None if there was an error.
      error: the exception, or None.
      at: path of the layer, or composite, that raised it.
    """

    steps: list[Step]
    y: Any
    error: Exception | None
    at: Path


class Walker:
    """Evaluates one net abstractly for many inputs, each with parameters initialized for it; nothing is computed.

    Results are cached per layer and shape, so that input sizes that lead to equal maps share the work.

    >>> from jaxconv.layers import Conv, MaxPool, chain
    >>> walk = Walker(chain(Conv(4, 3), MaxPool(2), Conv(8, 3))).walk((1, 6, 6, 1))
    >>> [step.y.shape for step in walk.steps], walk.at, walk.error.must
    ([(1, 4, 4, 4), (1, 2, 2, 4)], ('conv1',), 'conv: a kernel of 3 must fit into the padded input of 2 + 0 + 0 \
cells on spatial axis 0')
    """

    def __init__(self, net: Any):
        self.net = lift(net)
        self._born: dict[Any, Any] = {}
        self._passed: dict[Any, Any] = {}

    def walk(self, x: Any) -> Walk:
        """Evaluate for an array, struct or shape, up to the first error.

        Any exception of a layer ends the walk, as a custom flow may fail with an error of JAX.
        """
        steps: list[Step] = []
        born: dict[Path, tuple[Params, State]] = {}

        def run(layer: Layer, path: Path, h: Any, by: Layer | None = None) -> Any:
            if by is not None:
                params, state = map(_zeros, gather(layer, path, born))
                return by.apply(params, state, h)[0]
            if layer.flow is not None:
                return run_flow(layer, h, run, path)
            x = shape_of(h)
            if path not in born:
                born[path] = self._cached(self._born, (path, _key(x)), lambda: _init(layer, x))
            own = born[path]
            y = self._cached(self._passed, (path, _key(own), _key(x)), lambda: _apply(layer, own, x))
            steps.append(Step(path, layer.name, x, y))
            return _zeros(y)

        try:
            with net_input(shape_of(x)):
                y = jax.eval_shape(lambda x: run(self.net, (), x), shape_of(x))
        except _Stopped as stopped:
            return Walk(steps, None, stopped.error, (*path_of(stopped), *path_of(stopped.error)))
        except Exception as error:
            return Walk(steps, None, error, path_of(error))
        return Walk(steps, y, None, ())

    @staticmethod
    def _cached(memory: dict[Any, Any], key: Any, make: Any) -> Any:
        """The cached result for a key; a cached error is raised again."""
        if key not in memory:
            try:
                memory[key] = make()
            except Exception as error:
                memory[key] = error.with_traceback(None)  # no frames, which hold tracers
        if isinstance(memory[key], Exception):
            raise _Stopped(memory[key])
        return memory[key]


class _Stopped(Exception):
    """Carries a layer's error out of the flow and collects its path, which must not grow in the cached error."""

    def __init__(self, error: Exception):
        self.error = error


def _init(layer: Layer, x: Any) -> Any:
    return jax.eval_shape(lambda: layer.init(jax.random.key(0), x))


def _apply(layer: Layer, born: Any, x: Any) -> Any:
    return jax.eval_shape(lambda born, x: layer.apply(born[0], born[1], x)[0], born, x)


def _zeros(tree: Any) -> Any:
    """Traced zeros with the shapes of structs."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def _key(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
