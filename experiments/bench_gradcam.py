"""Time of Grad-CAM on ResNet-50 beside a forward and backward pass, in turn.

    python experiments/bench_gradcam.py --rounds 7

The passes are of the score of the predicted class: forward alone, forward and backward to the input, and Grad-CAM at
layer4 and layer1, whose maps are resized to the image. The goal: at most 1.5 times a forward and backward pass.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import jax
from timing import in_turn, machine, on_two_threads

import jaxconv as jc
from jaxconv import explain
from jaxconv.explain.scores import input_gradient


def calls(batch: int, size: int) -> dict[str, Callable[[], Any]]:
    """Each pass, compiled."""
    net = jc.models.resnet50()
    x = jax.random.normal(jax.random.key(1), (batch, size, size, 3))
    params, state = jax.jit(lambda: net.init(jax.random.key(0), x.shape))()

    def f(params: Any, state: Any, x: jax.Array) -> jax.Array:
        return net.apply(params, state, x)[0]

    def cam(layer: str, method: Any = explain.grad_cam) -> Callable[..., jax.Array]:
        return lambda params, state, x: method(explain.at_layer(net, params, state, layer), x)

    programs = {
        "forward": f,
        "forward and backward": lambda params, state, x: input_gradient(lambda x: f(params, state, x), x, None),
        "Grad-CAM, layer4": cam("layer4"),
        "Grad-CAM++, layer4": cam("layer4", explain.grad_cam_plus_plus),
        "Grad-CAM, layer1": cam("layer1"),
    }
    compiled = {name: jax.jit(program).lower(params, state, x).compile() for name, program in programs.items()}
    return {name: lambda run=run: jax.block_until_ready(run(params, state, x)) for name, run in compiled.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()
    on_two_threads()
    times = in_turn(calls(given.batch, given.size), given.rounds, pause=0.05)
    passes = statistics.median(times["forward and backward"])
    print(f"ResNet-50, {given.batch}×{given.size}²×3, medians of {given.rounds} in turn")
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"{name:<22}{middle:8.1f} ms  ({min(found):.1f} to {max(found):.1f})  {middle / passes:5.2f}")
    print(machine("jax", "jaxlib"))


if __name__ == "__main__":
    main()
