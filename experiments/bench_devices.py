"""Throughput of several devices of one CPU, in one process or two, and the share of a step in collectives.

    python experiments/bench_devices.py

One device that has both cores, against two devices that share them: of one process (data parallel, and FSDP), and of
two processes, whose collectives are Gloo's. Each row runs in processes of its own, as JAX counts its devices once. The
share is read from a profile: the time that the devices spend in collectives, waiting for each other included; of two
processes it is the first one's. Medians of steps; the share is a mean.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from timing import machine, milliseconds, on_two_threads

import jaxconv as jc
from jaxconv.analysis.collectives import collectives, names
from jaxconv.models import resnet_cifar
from jaxconv.run import joined
from jaxconv.training.devices import make_devices

ROWS = {  # devices of each process, processes, mesh
    "one device": (1, 1, {}),
    "two devices": (2, 1, {}),
    "two devices, FSDP": (2, 1, {"data": 1, "fsdp": 2}),
    "two processes": (1, 2, {}),
    "two processes, FSDP": (1, 2, {"data": 1, "fsdp": 2}),
}
BATCH, SIZE, PROFILED = 128, 32, 5


def main() -> None:
    """Measure each row in a process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--coordinator", help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        _, processes, sizes = ROWS[options.row]
        with joined(options.coordinator, processes, options.process):
            print(json.dumps(measured(options.steps, **sizes)))
        return
    print(f"{machine('jax')}; ResNet-20, batch {BATCH} of {SIZE}×{SIZE}×3; medians of {options.steps}")
    print(f"{'':20}{'ms a step':>12}{'images/s':>12}{'sent, MB':>12}{'collectives':>14}")
    for row in options.rows:
        found = first_of(row, options.steps)
        numbers = f"{found['ms']:12.1f}{BATCH / found['ms'] * 1e3:12.0f}{found['sent'] / 1e6:12.2f}"
        print(f"{row:20}{numbers}{found['share']:14.1%}", flush=True)


def first_of(row: str, steps: int) -> dict[str, float]:
    """What the first process of a row has measured."""
    devices, processes, _ = ROWS[row]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, __file__, "--row", row, "--steps", str(steps)]
    with socket.create_server(("", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    places = [["--coordinator", address, "--process", str(index)] for index in range(processes)]
    each = [command + (place if processes > 1 else []) for place in places]
    started = [subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) for words in each]
    printed = [process.communicate()[0] for process in started]
    assert not any(process.returncode for process in started), printed
    return json.loads(printed[0].splitlines()[-1])


def measured(steps: int, **sizes: int) -> dict[str, float]:
    """Median milliseconds of a step, bytes that each device sends, and the share of the time in collectives."""
    on_two_threads()
    devices = make_devices(**sizes)
    net, tx = resnet_cifar(depth=20), optax.sgd(0.1, momentum=0.9)
    state = devices.place(jc.training.init_state(net, tx, jax.random.key(0), (1, SIZE, SIZE, 3)))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCH, SIZE, SIZE, 3)).astype(np.float32)
    batch = devices.batch(
        jc.data.Batch(images, rng.integers(0, 10, BATCH).astype(np.int32), np.ones(BATCH, np.float32))
    )
    step = devices.step(jc.training.make_step(devices.layer(net), tx))
    compiled: Any = jax.jit(step, donate_argnums=0, out_shardings=(devices.shardings(state), None))
    compiled = compiled.lower(state, batch).compile()

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, batch))

    times = [milliseconds(run) for _ in range(steps + 2)][2:]
    text = compiled.as_text()
    share = share_of(run, names(text)) / jax.local_device_count()
    return {"ms": statistics.median(times), "sent": sum(row.sent for row in collectives(text)), "share": share}


def share_of(run: Any, wanted: set[str]) -> float:
    """Time in the operations of these names, on all devices, for each second of the profiled steps."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            total = sum(milliseconds(run) for _ in range(PROFILED))
        file = next(Path(folder).rglob("*.xplane.pb"))
        planes = jax.profiler.ProfileData.from_file(str(file)).planes
        events = (event for plane in planes for line in plane.lines for event in line.events)
        return sum(event.duration_ns for event in events if event.name in wanted) / 1e6 / total


if __name__ == "__main__":
    main()
