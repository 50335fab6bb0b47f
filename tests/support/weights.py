"""A small net and state dicts for it, for the tests of what is loaded by name."""

import numpy as np

import jaxconv as jc


def named(*layers):
    """A chain whose parts are "0", "1", … as torch's Sequential has them."""
    return jc.chain(**{str(i): layer for i, layer in enumerate(layers)})


NET = jc.chain(stem=named(jc.Conv(4, 3, bias=False), jc.BatchNorm()), pool=jc.global_avg_pool, head=jc.Dense(2))
SHAPES = {"0.weight": (4, 3, 3, 3), **{f"1.{w}": (4,) for w in ("weight", "bias", "running_mean", "running_var")}}
IMAGES = (1, 6, 6, 3)


def weights_of(stem, head, rng):
    """Random weights of NET whose stem and head are called so."""
    shapes = {f"{stem}.{name}": shape for name, shape in SHAPES.items()}
    shapes |= {f"{head}.weight": (2, 4), f"{head}.bias": (2,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
