"""Benchmark behind the engine's rules: one problem for each rule, in every formulation that supports it.

    python experiments/bench_rules.py

Each formulation is timed separately, with everything else at its best: milliseconds, medians of five. `lax` is timed
even if it is not a candidate, as the baseline that the rule improves on.
"""

from __future__ import annotations

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
from timing import in_turn, machine, on_two_threads

from jaxconv.engine.dispatch import choose
from jaxconv.engine.form import Form
from jaxconv.engine.rules import FORMULATIONS, Place
from jaxconv.engine.tune import candidates


def form(slot: str, x: tuple[int, ...], k: tuple[int, ...], groups: int = 1) -> Form:
    """A form of stride 1 whose padding keeps the size."""
    pad = tuple((size // 2, size // 2) for size in k[:-2])
    ones = (1,) * (len(k) - 2)
    return Form(slot, x, k, ones, pad, ones, groups)


FORMS = {
    f"{name}, {slot}": form(slot, x, k, groups)
    for name, x, k, groups in [
        ("1×1 8×56²×64→256", (8, 56, 56, 64), (1, 1, 64, 256), 1),
        ("3×3 64×32²×64→64", (64, 32, 32, 64), (3, 3, 64, 64), 1),
        ("3×3 8×56²×64→64", (8, 56, 56, 64), (3, 3, 64, 64), 1),
        ("3×3 64×2²×512→512", (64, 2, 2, 512), (3, 3, 512, 512), 1),
        ("depthwise 7×7 8×56²×96", (8, 56, 56, 96), (7, 7, 1, 96), 96),
        ("depthwise 3×3 8×28²×192", (8, 28, 28, 192), (3, 3, 1, 192), 192),
        ("depthwise 3×3 32×4²×384", (32, 4, 4, 384), (3, 3, 1, 384), 384),
        ("3×3 in 32 groups 8×14²×256", (8, 14, 14, 256), (3, 3, 8, 256), 32),
    ]
    for slot in "yxk"
}


def main() -> None:
    """Measure every form and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    on_two_threads()
    print(machine("jax", "jaxlib"))
    place, generator = Place(), np.random.default_rng(0)
    for name, one in FORMS.items():
        chosen = choose(one, place)
        calls = {}
        for impl in dict.fromkeys([*candidates(one, place), "lax"]):
            a, b = (jnp.asarray(generator.standard_normal(one.shape(slot)), jnp.float32) for slot in one.operands)
            run = functools.partial(jax.jit(FORMULATIONS[impl], static_argnums=2), a, b, one.open(one.slot, impl=impl))
            calls[impl] = lambda run=run: run().block_until_ready()
            calls[impl]()
        times = {impl: float(np.median(taken)) for impl, taken in in_turn(calls, args.repeats, 0.0).items()}
        row = ", ".join(f"{impl} {ms:.1f}" for impl, ms in sorted(times.items(), key=lambda pair: pair[1]))
        print(f"{name:36} rule: {chosen:10} {row}", flush=True)


if __name__ == "__main__":
    main()
