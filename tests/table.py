"""Every public op, layer and combinator: how to build one, and an input. One line gets a new one all of the
contract in test_contract.py."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxconv as jc
from jaxconv.layer import lift


class Entry(NamedTuple):
    """`names`: the public names it covers. `build`: makes the layer. `shape`: of its input, batch first."""

    names: str
    build: Callable[[], jc.Layer]
    shape: tuple[int, ...] = (3, 6, 5, 4)
    training_differs: bool = False
    examples_alone: bool = True  # False where an example's output depends on its place in the batch

    @property
    def stateful(self) -> bool:
        born = jax.eval_shape(lambda key: self.layer.init(key, self.shape), jax.random.key(0))
        return bool(jax.tree.leaves(born[1]))

    @property
    def layer(self) -> jc.Layer:
        return lift(self.build())


def op(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], jc.Layer]:
    """An op with everything but its input given."""
    return lambda: lift(lambda x: function(x, *args, **kwargs))


def weights(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape) / 3


def block() -> jc.Layer:
    body = jc.chain(jc.Conv(4, 3, padding="same", bias=False), jc.BatchNorm(), jnp.tanh)
    return jc.residual(body, shortcut=jc.Conv(4, 1))


OPS = [
    Entry("conv", lambda: lift(lambda x: jc.conv(x, weights(3, 3, 4, 6).astype(x.dtype), padding="same", stride=2))),
    Entry("max_pool", op(jc.max_pool, 2)),
    Entry("max_pool", op(jc.max_pool, 3, stride=2, padding=1, ceil=True)),
    Entry("avg_pool", op(jc.avg_pool, 3, stride=2, padding="same")),
    Entry("lp_pool", op(jc.lp_pool, 2, p=3)),
    Entry("l2_pool", op(jc.l2_pool, 3, stride=1)),
    Entry("global_avg_pool", op(jc.global_avg_pool)),
    Entry("global_max_pool", op(jc.global_max_pool)),
    Entry("pad", op(jc.pad, (1, 2), pad_mode="reflect")),
    Entry("batch_norm", op(jc.batch_norm, weights(4), jnp.ones(4), weights(4), weights(4))),
    Entry("flatten", op(jc.flatten)),
    Entry("dropout", lambda: lift(lambda x: jc.dropout(x, 0.3, jax.random.key(1))), examples_alone=False),
    Entry("using", lambda: jc.Conv(2, 3, impl="einsum")),
]

LAYERS = [
    Entry("Conv", lambda: jc.Conv(6, 3)),
    Entry("Conv", lambda: jc.Conv(6, (3, 2), stride=2, padding="same", groups=2, pad_mode="wrap", bias=False)),
    Entry("Conv", lambda: jc.Conv(5, (3,), padding="causal", dilation=2), (2, 7, 4)),
    Entry("Conv", lambda: jc.Conv(3, 2, stride=2), (2, 4, 4, 4, 2)),
    Entry("Dense", lambda: jc.Dense(7), (3, 5)),
    Entry("MaxPool", lambda: jc.MaxPool(2)),
    Entry("AvgPool", lambda: jc.AvgPool(2, count_padding=True, padding=1)),
    Entry("LpPool", lambda: jc.LpPool(2, p=1.5)),
    Entry("L2Pool", lambda: jc.L2Pool(2)),
    Entry("BatchNorm", lambda: jc.BatchNorm(), training_differs=True),
    Entry("Dropout", lambda: jc.Dropout(0.4), training_differs=True),
]

COMBINATORS = [
    Entry("chain", lambda: jc.chain(jc.Conv(4, 3), jnp.tanh, jc.flatten, head=jc.Dense(3))),
    Entry("residual", block, training_differs=True),
    Entry("branch", lambda: jc.branch(jc.Conv(2, 1), jc.Conv(3, 3, padding="same"), jnp.sin)),
]

TABLE = OPS + LAYERS + COMBINATORS
