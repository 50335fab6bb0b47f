"""Effect of rounding on a net's gradients and on the losses of its first steps.

    python experiments/rounding.py [net] [norm.so]

One net, one batch, the same parameters; every row evaluates the same function in another way: batch norm as the library
computes it, images changed by one part in 10⁷, and (if given) fused kernels for batch norm with ReLU or ReLU6, called
through XLA's FFI (handlers jc_bn0…2 and jc_bnb0…2). The error is that of the first step's gradient against f64,
‖g - g₆₄‖ / ‖g₆₄‖. Twice: with the net's own activations, and with GELU in place of ReLU and ReLU6.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from peers import LEARNING_RATE, MOMENTUM, jaxconv_pure, pure_step
from timing import on_two_threads
from worded_nets import SMALL
from words import Words, jaxconv_words

import jaxconv as jc

STEPS, MOVED, SHAPE, EPS = 4, 8, (32, 32, 32, 3), 1e-5


def fused(act: int) -> jc.Layer:
    """Batch norm and an activation (0 none, 1 ReLU, 2 ReLU6) by the kernels of the library that was given."""

    def like(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    @jax.custom_vjp
    def norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
        kinds = (like(*x.shape), like(x.shape[-1]), like(x.shape[-1]))
        return jax.ffi.ffi_call(f"bn{act}", kinds)(x, scale, bias, eps=np.float32(EPS))

    def forward(*args: jax.Array) -> Any:
        y, mean, rstd = norm(*args)
        return (y, mean, rstd), (*args, mean, rstd)

    def backward(kept: Any, ct: Any) -> Any:
        kinds = (like(*kept[0].shape), like(kept[0].shape[-1]), like(kept[0].shape[-1]))
        return tuple(jax.ffi.ffi_call(f"bnb{act}", kinds)(ct[0], *kept))

    norm.defvjp(forward, backward)

    plain = jc.BatchNorm(eps=EPS)

    def apply(params: Any, state: Any, x: jax.Array, *, key: Any = None, train: bool = False) -> Any:
        if x.shape[-1] % 16:  # none of the kernels'
            y, state = plain.apply(params, state, x, train=True)
            return (lambda y: y, jax.nn.relu, jax.nn.relu6)[act](y), state
        return norm(x, params["scale"], params["bias"])[0], state

    return jc.Layer("batch_norm", plain.init, apply)


def _same(x: jax.Array) -> jax.Array:
    return x


def fused_words(words: Words) -> Words:
    """The words with each norm, and the activation behind it, as one fused layer."""
    plain, norm, kinds = words.chain, object(), {jax.nn.relu: 1, jax.nn.relu6: 2}

    def chain(*parts: Any) -> jc.Layer:
        before, after = (None, *parts[:-1]), (*parts[1:], None)
        return plain(
            *(
                fused(kinds.get(behind, 0)) if part is norm else _same if ahead is norm and part in kinds else part
                for ahead, part, behind in zip(before, parts, after, strict=True)
            )
        )

    return Words(**{**vars(words), "chain": chain, "batch_norm": lambda c: norm})


def run_of(layer: jc.Layer, dtype: str) -> Callable[[np.ndarray, np.ndarray], tuple[list[float], np.ndarray]]:
    """(images, labels) -> the losses of the first steps, and the first gradient as one vector."""
    forward, params, state = jaxconv_pure(layer, SHAPE, inference=False, keyed=False)
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = jax.jit(pure_step(forward, optimizer))
    params, state = jax.tree.map(lambda v: v.astype(dtype), (params, state))

    def run(images: np.ndarray, labels: np.ndarray) -> tuple[list[float], np.ndarray]:
        carry, losses, gradient = (params, state, optimizer.init(params)), [], None
        for _ in range(STEPS):
            *carry, loss = step(*carry, jnp.asarray(images, dtype), labels)  # type: ignore[assignment]
            losses.append(float(loss))
            if gradient is None:  # what momentum holds after one step
                leaves = jax.tree.leaves(carry[2][0].trace)
                gradient = np.concatenate([np.asarray(v, np.float64).ravel() for v in leaves])
        assert gradient is not None
        return losses, gradient

    return run


def _moved(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (images * (1 + 1e-7 * rng.standard_normal(SHAPE))).astype(np.float32)


def main() -> None:
    """Print one row for every evaluation."""
    name, library = (*sys.argv[1:], "mobilenet_v2", "")[:2] if len(sys.argv) < 3 else sys.argv[1:3]
    on_two_threads()
    jax.config.update("jax_enable_x64", True)
    if library:
        loaded = ctypes.CDLL(library)
        for target in (f"bn{way}{act}" for way in ("", "b") for act in range(3)):
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(loaded, f"jc_{target}")), platform="cpu")
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal(SHAPE, np.float32), rng.integers(10, size=SHAPE[0], dtype=np.int32)
    smooth = functools.partial(jax.nn.gelu, approximate=False)
    for kind, activations in (("its own", {}), ("smooth", {"relu": smooth, "relu6": smooth})):
        words, net = Words(**{**vars(jaxconv_words()), **activations}), SMALL[name]
        print(f"{name}, activations: {kind}", flush=True)
        wide, narrow = run_of(net(words), "float64"), run_of(net(words), "float32")
        _, right = wide(images, labels)
        rows = {
            "f64": (wide, images),
            "f64, images × (1 + 1e-7 z)": (wide, _moved(images, rng)),
            "f32": (narrow, images),
        }
        for i in range(MOVED):
            rows[f"f32, images × (1 + 1e-7 z{i})"] = narrow, _moved(images, rng)
        if library:
            rows["f32, fused norms"] = run_of(net(fused_words(words)), "float32"), images
        for row, (run, x) in rows.items():
            losses, gradient = run(x, labels)
            error = np.linalg.norm(gradient - right) / np.linalg.norm(right)
            print(f"  {row:<32} gradient's error {error:.1e}, losses", *(f"{v:.5f}" for v in losses), flush=True)


if __name__ == "__main__":
    main()
