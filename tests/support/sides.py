"""One function on both sides, ours and torch's: the same random arrays in, values and gradients compared.

Arrays are in our layout on both sides; torch's side turns them to its own and back, inside what is differentiated.
"""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the arrays are small, and pytest runs several of us

QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}  # a fifth of the compile time
TOLERANCE = 1e-10  # of the largest value, in float64


def first(x, rank):
    """[..., *spatial, C] -> [..., C, *spatial]."""
    return x.movedim(-1, -1 - rank)


def last(y, rank):
    """[..., C, *spatial] -> [..., *spatial, C]."""
    return y.movedim(-1 - rank, -1)


def weight(kernel):
    """Our kernel [*k, C_in/groups, C_out] as torch's weight [C_out, C_in/groups, *k].

    The same turn takes conv_transpose's [*k, C_out/groups, C_in] to torch's [C_in, C_out/groups, *k], and
    Dense's [C_in, C_out] to Linear's [C_out, C_in].
    """
    return kernel.movedim((-1, -2), (0, 1))


def torch_params(tree):
    """Our params or state as torch names and turns them: `{"a": {"kernel": k}}` gives `{"a.weight": weight(k)}`."""
    turned, words = {}, {"bias": "bias", "mean": "running_mean", "var": "running_var"}
    for path, leaf in jax.tree.leaves_with_path(tree):
        *parts, name = (key.key for key in path)
        turned[".".join([*parts, words.get(name, "weight")])] = weight(leaf) if leaf.ndim > 1 else leaf
    return turned


def random_like(tree, rng):
    """Random numbers in place of what `init` drew: zeros and ones would hide a missing bias or scale."""
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), tree)


def compare(ours, theirs, args, rng, assert_close):
    """Holds `ours(*args)` and its gradients to `theirs(*args)`, from one random cotangent.

    Args:
      ours, theirs: functions of arrays (of tensors) in our layout, to an array or a tuple of them.
      args: a tuple of pytrees of float64 arrays; every leaf gets a gradient.

    What torch does not differentiate (running statistics, indices) must have no gradient with us either.
    """
    leaves, tree = jax.tree.flatten(args)
    assert all(leaf.dtype == np.float64 for leaf in leaves)
    tensors = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
    want = theirs(*tree.unflatten(tensors))
    want = want if isinstance(want, tuple) else (want,)
    cotangents = [rng.normal(size=tuple(y.shape)) for y in want]
    moved = [(y, torch.tensor(g)) for y, g in zip(want, cotangents, strict=True) if y.requires_grad]
    outputs, weights = zip(*moved, strict=True)
    slopes = torch.autograd.grad(outputs, tensors, weights)

    def program(args, cotangents):
        y, pull = jax.vjp(lambda *a: ours(*a), *args)
        return jax.tree.leaves(y), pull(jax.tree.unflatten(jax.tree.structure(y), cotangents))

    got, grads = jax.jit(program, compiler_options=QUICK)(args, cotangents)
    names = [f"gradient by {jax.tree_util.keystr(path)}" for path, _ in jax.tree.leaves_with_path(args)]
    pairs = [
        *zip((f"result {i}" for i in range(len(want))), got, want, strict=True),
        *zip(names, jax.tree.leaves(grads), slopes, strict=True),
    ]
    for name, mine, torchs in pairs:
        assert mine.dtype == np.float64
        assert_close(mine, torchs.detach().numpy(), name, TOLERANCE)
