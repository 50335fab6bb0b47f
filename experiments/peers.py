"""Training steps and inference of a net in jaxconv, Flax and torch, to be timed."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import THREADS, milliseconds
from worded_nets import Net
from words import flax_words, torch_words

import jaxconv as jc

LEARNING_RATE, MOMENTUM = 0.01, 0.9
Batch = tuple[np.ndarray, np.ndarray]
Pure = tuple[Callable[..., Any], Any, Any]  # forward(params, state, x) -> (logits, state), params, state


@dataclass
class Peer:
    """One net in one library: `run` does all of the work, waits for it, and gives one number of what came out."""

    name: str
    run: Callable[[], float]  # the loss of a step; the standard deviation of the logits in inference
    sizes: list[int]  # of every parameter, sorted
    compile_s: float | None = None
    memory_mb: float | None = None  # temporaries and outputs, some of them in donated memory
    ms: list[float] = field(default_factory=list)


def jaxconv_pure(layer: jc.Layer, shape: tuple[int, ...], inference: bool, keyed: bool) -> Pure:
    """The layer with its parameters; `keyed` has each training step split a key that stands in the state."""
    params, state = layer.init(jax.random.key(0), shape)
    if inference or not keyed:
        return functools.partial(layer.apply, train=not inference), params, state

    def forward(params: Any, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        state, key = state
        key, now = jax.random.split(key)
        logits, state = layer.apply(params, state, x, key=now, train=True)
        return logits, (state, key)

    return forward, params, (state, jax.random.key(1))


def flax_pure(net: Net, inference: bool) -> Pure:
    """The net in Flax, split into its graph, its parameters and the rest."""
    from flax import nnx

    model = net(flax_words())
    if inference:
        model.eval()
    graph, params, state = nnx.split(model, nnx.Param, ...)

    def forward(params: Any, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        model = nnx.merge(graph, params, state, copy=True)
        logits = model(x)
        return logits, nnx.split(model, nnx.Param, ...)[2]

    return forward, params, state


def pure_step(forward: Callable[..., Any], optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """step(params, state, opt_state, x, y) -> (params, state, opt_state, loss)."""

    def step(params: Any, state: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            logits, new = forward(params, state, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        (loss, new), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), new, opt_state, loss

    return step


def jax_peer(name: str, pure: Pure, batch: Batch, inference: bool) -> Peer:
    """Compiles the step, or the forward pass, from scratch and takes the time of it."""
    forward, params, state = pure
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(params))
    images, labels = map(jnp.asarray, batch)
    if inference:
        call, carry, data, donated = (lambda *args: forward(*args)[0]), (params, state), (images,), ()
    else:
        optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
        call, carry = pure_step(forward, optimizer), (params, state, optimizer.init(params))
        data, donated = (images, labels), (0, 1, 2)
    call = jc.accelerate(call) if name == "flax accelerated" else call

    jax.clear_caches()
    began = time.perf_counter()
    compiled = jax.jit(call, donate_argnums=donated).lower(*carry, *data).compile()
    compile_s = time.perf_counter() - began

    def step() -> float:
        nonlocal carry
        *carry, loss = jax.block_until_ready(compiled(*carry, *data))
        return float(loss)

    def infer() -> float:
        return float(np.std(compiled(*carry, *data)))

    memory = compiled.memory_analysis()
    memory_mb = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6
    return Peer(name, infer if inference else step, sizes, compile_s, memory_mb)


def torch_peer(net: Net, batch: Batch, inference: bool, memory_format: str = "channels_last") -> Peer:
    """The net in torch, in eager mode, with parameters and images in the given memory format."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    layout = getattr(torch, memory_format)
    model = net(torch_words()).to(memory_format=layout).train(not inference)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    x = torch.from_numpy(batch[0]).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    y = torch.from_numpy(batch[1]).long()

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def infer() -> float:
        return float(np.std(model(x).numpy()))

    return Peer("torch", infer if inference else step, sorted(p.numel() for p in model.parameters()))


def faster_torch_peer(net: Net, batch: Batch, inference: bool) -> Peer:
    """The one of the two memory formats whose best of three runs, after one to warm up, takes less."""
    peers = {name: torch_peer(net, batch, inference, name) for name in ("channels_last", "contiguous_format")}
    best = {name: min([milliseconds(peer.run) for _ in range(4)][1:]) for name, peer in peers.items()}
    print("torch: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in best.items()))
    return peers[min(best, key=best.__getitem__)]
