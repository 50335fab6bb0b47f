"""Benchmark of startup: `import jaxconv` beyond jax's own import, and `init` of nets with new shapes.

python experiments/bench_startup.py
"""

import statistics
import subprocess
import sys
import time

import jax

import jaxconv as jc

IMPORT = "import time, jax; began = time.perf_counter(); import jaxconv; print(time.perf_counter() - began)"


def block(features: int) -> jc.Layer:
    """A residual block of three convolutions."""
    conv = jc.Conv(features, 3, padding="same")
    body = jc.chain(conv, jc.BatchNorm(), jax.nn.relu, conv, jc.BatchNorm())
    return jc.residual(body, shortcut=jc.Conv(features, 1))


def init_seconds(width: int) -> float:
    """Initializes a net of 12 convolutions whose shapes no other width has."""
    net = jc.chain(*(block(width * 2**i) for i in range(4)), jc.global_avg_pool, jc.Dense(10))
    began = time.perf_counter()
    jax.block_until_ready(net.init(jax.random.key(0), (1, 32, 32, 3)))
    return time.perf_counter() - began


def main() -> None:
    """Prints both, n = 5."""
    imports = [float(subprocess.check_output([sys.executable, "-c", IMPORT])) for _ in range(5)]
    first, *later = (init_seconds(width) for width in (16, 17, 18, 19, 20, 21))
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, n = 5")
    for name, seconds in (("import jaxconv after jax", imports), ("init, new shapes", later)):
        print(f"{name}: median {statistics.median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f}")
    print(f"init, first of the process: {first:.3f} s")


if __name__ == "__main__":
    main()
