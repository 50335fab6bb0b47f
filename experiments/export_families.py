"""Every family of nets as an ONNX model: nodes, and the largest difference between ONNX Runtime and JAX.

    PYTHONPATH=tests python experiments/export_families.py

The small nets of tests/models/families.py with random parameters and statistics, branches merged and batch norms
folded; 20 random images, the first of them also alone. Prints the table of docs/export.md.
"""

import jax
import numpy as np
import onnxruntime
from layers.test_folding import trained
from models.families import FAMILIES, small

import jaxconv as jc

IMAGES = 20


def measured(name):
    """Number of parameters and nodes, and the largest difference as a share of the largest output."""
    rng, net, shape = np.random.default_rng(0), small(name), FAMILIES[name].shape[1:]
    net, params, state = jc.reparameterize(net, *trained(net, (1, *shape), rng), (1, *shape))
    net, params, state = jc.fold_batch_norms(net, params, state, (1, *shape))
    model = jc.export.to_onnx(lambda x: net.apply(params, state, x)[0], ("n", *shape))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = rng.normal(size=(IMAGES, *shape)).astype(np.float32)
    worst = 0.0
    for x in (images[:1], images):
        (got,), want = session.run(None, {"input": x}), jax.jit(lambda x: net.apply(params, state, x)[0])(x)
        worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    return sum(leaf.size for leaf in jax.tree.leaves(params)), len(model.graph.node), worst


if __name__ == "__main__":
    print("| family | parameters | nodes | largest difference |\n|---|---:|---:|---:|")
    for name in FAMILIES:
        parameters, nodes, worst = measured(name)
        print(f"| `{name}` | {parameters:,} | {nodes} | {worst:.1e} |", flush=True)
