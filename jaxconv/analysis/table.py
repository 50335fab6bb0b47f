"""A net layer by layer: what each makes of its input, and how many parameters it has."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jaxconv.layer import Layer, lift, shape_of

__all__ = ["Row", "rows"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer.

    Args:
      path: the names that lead to it.
      kind: its own name.
      shape: of its output.
      parameters: of its own; 0 where they are another row's, used again.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


def rows(net: Any, x: Any) -> list[Row]:
    """A net's layers in the order that they run, from shapes alone.

    Args:
      net: a Layer or callable.
      x: an array, a `jax.ShapeDtypeStruct` or a shape.

    Raises:
      ShapeError: the net does not take such an input.

    >>> from jaxconv.layers import Conv, chain
    >>> [(row.path, row.shape, row.parameters) for row in rows(chain(Conv(4, 3), jax.nn.relu), (1, 8, 8, 1))]
    [('conv0', (1, 6, 6, 4), 40), ('relu0', (1, 6, 6, 4), 0)]
    """
    net, found, counted = lift(net), [], set()
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), shape_of(x)))

    def run(layer: Layer, params: Any, state: Any, path: tuple[str, ...], h: Any) -> Any:
        if layer.flow is None:
            y = layer.apply(params, state, h)[0]
            own = 0 if path in counted else sum(leaf.size for leaf in jax.tree.leaves(params))
            counted.add(path)
            found.append(Row("/".join(path) or layer.name, layer.name, jax.tree.leaves(y)[0].shape, own))
            return y

        def call(part: str, h: Any, by: Layer | None = None) -> Any:
            return run(by or layer.parts[part], params[part], state[part], (*path, part), h)

        return layer.flow(call, h)

    jax.eval_shape(lambda params, state, h: run(net, params, state, (), h), params, state, shape_of(x))
    return found
