"""A net against a torch module of the same parts: the same weights, values, statistics and gradients.

`check` is all that a test needs. The torch side is written by other hands from the papers, or is transformers' own;
weights go over by name through `jaxconv.port.weights.load`, and torch's gradients do, too, as if they were weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
from support import quick

from jaxconv import port
from jaxconv._base.paths import leaf_names

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # of |difference| / |theirs|
FAST = quick.first_known(quick.QUICK | quick.OLDER, quick.QUICK)  # a quarter of the time to compile


def check(
    net,
    module,
    shape,
    rng,
    *,
    dtype="float32",
    slopes=True,
    forward=None,
    train=True,
    evaluates=True,
    source="torchvision",
):
    """Holds a net to a torch module: evaluation, and training with its statistics and all gradients.

    Args:
      net: of ours, with dropout off in training.
      module: the torch module; its weights and statistics are drawn anew, its dropout is turned off.
      shape: of the images, [N, H, W, C].
      rng: a NumPy generator.
      dtype: "float64" within jax.enable_x64. In float32 the rounding of a deep net moves some ReLU's input across
        zero, and the gradient jumps: torch's own is then off its float64 by more than TOLERANCE.
      slopes: whether gradients are compared.
      forward: (module, images [N, C, H, W]) -> tensor, where calling the module gives something else.
      train: whether the net is also held to it in training.
      evaluates: whether it is held to it in evaluation, too.
      source: of `port.load`.
    """
    import torch

    torch.set_num_threads(1)  # these nets are small, and other workers want the cores
    randomize(module.to(getattr(torch, dtype)), rng)
    x = rng.normal(size=shape).astype(dtype)
    images = torch.tensor(x).movedim(-1, 1).contiguous().requires_grad_()
    call = forward or (lambda module, images: module(images))

    def moved(weights):
        return port.load(net, weights, source=source, x=x)

    # Copies: torch writes its new statistics where the old ones stand.
    params, state = moved({name: tensor.clone() for name, tensor in module.state_dict().items()})
    if evaluates:
        with torch.no_grad():
            want = call(module.eval(), images)
        got = jax.jit(lambda x: net.apply(params, state, x)[0], compiler_options=FAST)(x)
        close({"evaluation": got}, {"evaluation": ours(want)}, dtype)
    if not train:
        return

    want, along, after = torch_step(module, call, images, rng)
    by, statistics = moved(after)

    def loss(params, x):
        y, new = net.apply(params, state, x, key=jax.random.key(0), train=True)
        return jnp.vdot(y, along), (y, new)

    step = jax.grad(loss, argnums=(0, 1), has_aux=True) if slopes else lambda *args: (None, loss(*args)[1])
    found, (y, new) = jax.jit(step, compiler_options=FAST)(params, x)
    close({"training": y, "statistics": new}, {"training": ours(want), "statistics": statistics}, dtype)
    if slopes:
        close({"by": found[0], "by x": found[1]}, {"by": by, "by x": ours(images.grad)}, dtype, layers=True)


def randomize(module, rng):
    """Weights that keep the size of what goes through, and statistics that are not those of a fresh net."""
    import torch

    def put(tensor, values):
        with torch.no_grad():
            tensor.copy_(torch.tensor(values))

    for name, weight in module.named_parameters():
        size = tuple(weight.shape)
        if weight.ndim > 1:
            put(weight, rng.normal(size=size) * np.sqrt(2 / weight[0].numel()))
        else:
            put(weight, rng.normal(size=size) * 0.2 if name.endswith("bias") else rng.uniform(0.5, 1.5, size))
    for name, statistic in module.named_buffers():
        if name.endswith("running_mean"):
            put(statistic, rng.normal(size=tuple(statistic.shape)) * 0.2)
        if name.endswith("running_var"):
            put(statistic, rng.uniform(0.5, 1.5, tuple(statistic.shape)))
    for part in module.modules():
        if isinstance(part, torch.nn.modules.dropout._DropoutNd):
            part.p = 0.0


def torch_step(module, call, images, rng):
    """A pass forward and backward in training.

    Returns the values, what they are multiplied by before they are summed up to what is differentiated, and a state
    dict with the gradients in the weights' places and the statistics after the pass.
    """
    import torch

    norms = {n: part for n, part in module.named_modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)}
    before = {n: part.running_var.clone() for n, part in norms.items()}
    counts = {}

    def count(name):
        return lambda part, given, result: counts.update({name: given[0].numel() / given[0].shape[1]})

    hooks = [part.register_forward_hook(count(name)) for name, part in norms.items()]
    y = call(module.train(), images)
    along = torch.tensor(rng.normal(size=tuple(y.shape)), dtype=y.dtype)
    (y * along).sum().backward()
    for hook in hooks:
        hook.remove()
    after = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name, part in norms.items():  # torch's running variance is the unbiased one, ours the biased
        kept = (1 - part.momentum) * before[name]
        n = counts[name]
        after[f"{name}.running_var"] = kept + (part.running_var - kept) * (n - 1) / n
    after |= {name: weight.grad for name, weight in module.named_parameters()}
    return y, ours(along), after


def ours(tensor):
    """A torch tensor as we have it: [N, C, H, W] as [N, H, W, C]."""
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def close(got, want, dtype, layers=False):
    """Every leaf, or with `layers` all leaves of a layer as one, within TOLERANCE; says which are not, worst first.

    A bias before a batch norm has no gradient but rounding, and what a norm's scale has is nearly cancelled by what
    comes later: such are right where they are right beside the rest of their layer's.
    """
    got, want = (leaves_of(tree) for tree in (got, want))
    assert {path: leaf.shape for path, leaf in got.items()} == {path: leaf.shape for path, leaf in want.items()}
    assert {str(leaf.dtype) for leaf in got.values()} == {dtype}
    squares = {}
    for path, theirs in want.items():
        pair = np.sum(np.subtract(got[path], theirs, dtype="float64") ** 2), np.sum(np.square(theirs, dtype="float64"))
        group = path.rsplit("/", 1)[0] if layers else path
        squares[group] = np.add(squares.get(group, 0), pair)
    errors = {path: np.sqrt(difference / size) for path, (difference, size) in squares.items()}
    wrong = sorted((item for item in errors.items() if not item[1] <= TOLERANCE[dtype]), key=lambda item: -item[1])
    assert not wrong, f"{len(wrong)} of {len(errors)} differ: " + ", ".join(f"{p} {e:.1e}" for p, e in wrong[:8])


def leaves_of(tree):
    return dict(zip(leaf_names(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))
