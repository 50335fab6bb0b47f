"""Rounding errors of Winograd's kernels and of the direct ones, against f64.

    python experiments/winograd_errors.py [--steps 96]

Every row is one 3×3 convolution; in each slot (y, x, k) the largest error of the direct kernel over the standard
deviation of the result, and the largest (and root mean square) error of F(4×4) and of F(2×2) over the direct kernel's.
Each number is the worst of a row's arrays: `SEEDS` draws of random data, or the convolutions of 3×3 at stride 1 of one
size in a ResNet-18 for small images, trained for `--steps` steps of 64 CIFAR-10 images (JAXCONV_DATA), three epochs of
2,048 images, with its own activations, kernels and gradients, on images scaled to unit variance or left at 0 to 255.
"""

import argparse
import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import on_two_threads
from worded_nets import SMALL
from words import jaxconv_words

import jaxconv as jc
from jaxconv.data import load
from jaxconv.engine import FORMULATIONS, Form
from jaxconv.engine.native.formulation import _call

SEEDS, BATCH, IMAGES = 3, 64, 2048
KINDS = ("dense", "winograd4", "winograd2")
Array = np.ndarray[Any, Any]
Errors = dict[str, list[tuple[float, float, float]]]  # by kind: largest, rms, standard deviation of the result


def form_of(n: int, size: int, c: int, o: int) -> Form:
    return Form("y", (n, size, size, c), (3, 3, c, o), (1, 1), ((1, 1), (1, 1)), (1, 1))


def exact(form: Form, arrays: dict[str, Array]) -> Array:
    """The open slot in f64: one product for each tap."""
    x, k, y = (arrays.get(slot, np.zeros(getattr(form, slot))).astype(np.float64) for slot in "xky")
    padded = np.pad(x, ((0, 0), *form.padding, (0, 0)))
    h, w = form.y[1:3]
    (low, _), (left, _) = form.padding
    out = {"x": np.zeros_like(padded), "k": np.zeros_like(k), "y": np.zeros_like(y)}[form.slot]
    for i, j in np.ndindex(3, 3):
        cells = padded[:, i : i + h, j : j + w].reshape(-1, form.x[-1])
        if form.slot == "y":
            out += (cells @ k[i, j]).reshape(y.shape)
        elif form.slot == "k":
            out[i, j] = cells.T @ y.reshape(-1, form.k[-1])
        else:
            out[:, i : i + h, j : j + w] += (y.reshape(-1, form.k[-1]) @ k[i, j].T).reshape(*form.y[:3], -1)
    return out[:, low : low + form.x[1], left : left + form.x[2]] if form.slot == "x" else out


@functools.partial(jax.jit, static_argnums=(2, 3))
def native(a: jax.Array, b: jax.Array, form: Form, kind: str) -> jax.Array:
    return _call(dict(zip(form.operands, (a, b), strict=True)), form, kind)


def measure(form: Form, arrays: dict[str, Array], errors: Errors) -> None:
    want = exact(form, arrays)
    for kind in KINDS:
        got = native(*(jnp.asarray(arrays[slot]) for slot in form.operands), form, kind)
        error = np.abs(np.asarray(got, np.float64) - want)
        errors[kind].append((error.max(), np.sqrt(np.mean(error**2)), want.std()))


def cells(all_errors: list[Errors]) -> str:
    """A slot's columns: the worst ratio of the rows given."""
    text = [f"{max(largest / std for errors in all_errors for largest, _, std in errors['dense'] if std):.1e}"]
    for kind in KINDS[1:]:
        pairs = [pair for errors in all_errors for pair in zip(errors[kind], errors["dense"], strict=True)]
        worst, rms = (max(mine[i] / direct[i] for mine, direct in pairs) for i in (0, 1))
        text.append(f"{worst:.2f} ({rms:.2f})")
    return " | ".join(text)


def row(name: str, slots: dict[str, list[Errors]]) -> None:
    print(f"| {name} | {' | '.join(cells(slots[slot]) for slot in 'yxk')} |", flush=True)


def synthetic(name: str, draw: Callable[..., Array], shapes: tuple[tuple[int, ...], ...]) -> None:
    for n, size, c, o in shapes:
        form, slots = form_of(n, size, c, o), defaultdict(list)
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            arrays = {
                "x": draw(rng, form.x).astype(np.float32),
                "k": (rng.standard_normal(form.k) * np.sqrt(2 / 9 / c)).astype(np.float32),
                "y": rng.standard_normal(form.y, np.float32),
            }
            for slot in "yxk":
                slots[slot].append(defaultdict(list))
                measure(form.open(slot), arrays, slots[slot][-1])
        row(f"{name} {n}×{size}²×{c}→{o}", slots)


def trained(steps: int, scaled: bool) -> None:
    """All convolutions of a net's gradient, as training has left them; the net's errors by epoch."""
    data = load("cifar10").train
    images, labels = data.images[:IMAGES].astype(np.float32), data.labels[:IMAGES]
    images = (images - 120) / 60 if scaled else images
    net = SMALL["resnet18"](jaxconv_words())
    params, state = net.init(jax.random.key(0), (BATCH, 32, 32, 3))
    update = optax.sgd(0.05 if scaled else 0.01, momentum=0.9)

    def loss(params: Any, state: Any, x: Any, labels: Any) -> Any:
        logits, state = net.apply(params, state, x, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    @jax.jit
    def step(params: Any, state: Any, kept: Any, x: Any, labels: Any) -> Any:
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, x, labels)
        moved, kept = update.update(grads, kept)
        return optax.apply_updates(params, moved), state, kept, value

    found: dict[str, list[tuple[Form, dict[str, Array]]]] = defaultdict(list)

    def record(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
        if form.kernel_size == (3, 3) and form.stride == (1, 1) and form.k[-2] >= 16:
            jax.debug.callback(
                lambda *given: found[form.slot].append(
                    (form, {slot: np.array(v) for slot, v in zip(form.operands, given, strict=True)})
                ),
                a,
                b,
            )
        return direct(a, b, form)

    kept, epoch = update.init(params), IMAGES // BATCH
    for number in range(steps + 1):
        if number in (0, steps):
            at = slice(0, BATCH)
            direct, FORMULATIONS["native"] = FORMULATIONS["native"], record
            with jc.using(impl="native"):
                jax.block_until_ready(jax.jit(jax.grad(loss, has_aux=True))(params, state, images[at], labels[at]))
                jax.effects_barrier()
            FORMULATIONS["native"] = direct
            layers: dict[str, dict[str, list[Errors]]] = defaultdict(lambda: defaultdict(list))
            for slot in "yxk":
                for form, arrays in found[slot]:
                    errors = layers[f"{form.y[1]}²×{form.k[-1]}"][slot]
                    errors.append(defaultdict(list))
                    measure(form, arrays, errors[-1])
            found.clear()
            for name, slots in layers.items():
                row(f"{'unit variance' if scaled else '0 to 255'}, step {number}: {len(slots['y'])} of {name}", slots)
        if number < steps:
            at = slice(number % epoch * BATCH, (number % epoch + 1) * BATCH)
            with jc.using(impl="native"):
                params, state, kept, value = step(params, state, kept, images[at], labels[at])
    print(f"loss of the last step: {float(value):.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--part", choices=("synthetic", "trained", "raw", "all"), default="all")
    options = parser.parse_args()
    on_two_threads()
    assert jc.engine.native.available(), jc.engine.native.reason()
    heads = [f"{slot} direct | F(4×4) | F(2×2)" for slot in "yxk"]
    print(f"| max/σ, ratio of max (rms) | {' | '.join(heads)} |", "|---" + "|---:" * 9 + "|", sep="\n")
    if options.part in ("synthetic", "all"):
        small = ((8, 32, 3, 64), (8, 32, 8, 8))
        some = ((8, 32, 16, 16), (8, 32, 32, 32), (32, 32, 64, 64), (32, 16, 128, 128))
        deep = ((32, 8, 256, 256), (32, 4, 512, 512))
        synthetic("N(0, 1)", lambda rng, shape: rng.standard_normal(shape), small + some + deep)
        synthetic("ReLU of N(0, 1)", lambda rng, shape: np.maximum(rng.standard_normal(shape), 0), some)
        synthetic("uniform 0 to 255", lambda rng, shape: rng.uniform(0, 255, shape), some)
        synthetic("N(200, 10)", lambda rng, shape: rng.normal(200, 10, shape), some)
    if options.part in ("trained", "all"):
        trained(options.steps, True)
    if options.part in ("raw", "all"):
        trained(options.steps, False)


if __name__ == "__main__":
    main()
