"""Every norm that torch has too: values, gradients and running statistics in float64."""

import math

import jax
import pytest

import jaxconv as jc

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
from support.sides import compare, first, last, random_like, torch_params, weight  # noqa: E402  (it needs torch)

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.sampled]


@pytest.mark.parametrize("shape", [(3, 5), (2, 7, 4), (2, 3, 5, 6), (2, 3, 2, 3, 4)], ids=str)
def test_norm_ops(shape, rng, assert_close):
    """Each with scale and bias; torch's eps is given where its default is another."""
    rank, channels = len(shape) - 2, shape[-1]
    groups = 2 if channels % 2 == 0 else 1
    mean, var = rng.normal(size=channels), rng.uniform(0.5, 2, channels)

    def ours(x, scale, bias):
        results = [jc.layer_norm(x, scale, bias), jc.rms_norm(x, scale), jc.batch_norm(x, mean, var, scale, bias)]
        results += [jc.group_norm(x, groups, scale, bias), jc.group_norm(x, channels, scale, bias, eps=0.1)]
        if rank:
            results += [jc.instance_norm(x, scale, bias), jc.instance_norm(x, eps=0.01)]
        return tuple(results)

    def theirs(x, scale, bias):
        y = first(x, rank)
        turned = [
            F.batch_norm(y, torch.tensor(mean), torch.tensor(var), scale, bias),
            F.group_norm(y, groups, scale, bias),
            F.group_norm(y, channels, scale, bias, eps=0.1),
        ]
        if rank:
            turned += [F.instance_norm(y, weight=scale, bias=bias), F.instance_norm(y, eps=0.01)]
        own = F.layer_norm(x, (channels,), scale, bias), F.rms_norm(x, (channels,), scale, eps=1e-6)
        return *own, *(last(y, rank) for y in turned)

    args = (rng.normal(1, 2, shape), rng.normal(size=channels), rng.normal(size=channels))
    compare(ours, theirs, args, rng, assert_close)


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 3, 4, 6), (2, 2, 3, 2, 5)], ids=str)
def test_local_response_norm(shape, rng, assert_close):
    """torch means the squares where the paper and we sum them: its alpha is ours times size."""
    rank, sizes, words = len(shape) - 2, (1, 2, 3, 5, 8), {"beta": 0.6, "k": 1.5}

    def ours(x):
        results = [jc.local_response_norm(x, size, alpha=0.7, **words) for size in sizes]
        return jc.local_response_norm(x), *results

    def theirs(x):
        x = first(x, rank)
        results = [F.local_response_norm(x, size, 0.7 * size, **words) for size in sizes]
        return tuple(last(y, rank) for y in (F.local_response_norm(x, 5, 5e-4, k=2.0), *results))

    compare(ours, theirs, (rng.normal(size=shape),), rng, assert_close)


@pytest.mark.parametrize("k", [(5,), (3, 2), (3, 1, 2)], ids=str)
def test_standardize_kernel(k, rng, assert_close):
    """As torch's users write it: the instance norm of each map's weights, here over the square root of their number."""

    def theirs(kernel):
        rows = weight(kernel).flatten(1)
        rows = F.instance_norm(rows[None])[0] / math.sqrt(rows.shape[1])
        return rows.reshape(weight(kernel).shape).movedim((0, 1), (-1, -2))

    compare(jc.standardize_kernel, theirs, (rng.normal(1, 2, (*k, 3, 4)),), rng, assert_close)


@pytest.mark.parametrize("shape", [(5, 3), (3, 4, 3), (2, 3, 5, 3), (2, 3, 2, 3, 3)], ids=str)
@pytest.mark.parametrize(("affine", "momentum"), [(True, 0.9), (False, 0.7)])
def test_batch_norm(shape, affine, momentum, rng, assert_close):
    """Two steps of training and then an evaluation, by state too.

    torch's momentum is 1 - ours. It runs the unbiased variance (over count - 1), we the biased one that the step
    normalizes by, as Flax and Haiku do: what the steps add to the two differs by count / (count - 1).
    """
    rank, channels = len(shape) - 2, shape[-1]
    layer = jc.BatchNorm(momentum=momentum, eps=1e-3, scale=affine, bias=affine)
    module = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank]
    module = module(channels, eps=1e-3, momentum=1 - momentum, affine=affine).double()
    old = {"mean": rng.normal(size=channels), "var": rng.uniform(0.5, 2, channels)}
    count, kept = math.prod(shape[:-1]), momentum**2
    x = jax.ShapeDtypeStruct(shape, "float64")
    params, _ = jax.eval_shape(lambda key: layer.init(key, x), jax.random.key(0))

    def ours(params, steps, x):
        state, ys = old, []
        for step in steps:
            y, state = layer.apply(params, state, step, train=True)
            ys.append(y)
        _, same_state = layer.apply(params, state, x)
        assert same_state is state
        unbiased = kept * old["var"] + (state["var"] - kept * old["var"]) * count / (count - 1)
        y_unbiased, _ = layer.apply(params, {**state, "var": unbiased}, x)
        return *ys, y_unbiased, state["mean"], unbiased

    def theirs(params, steps, x):
        buffers = {**torch_params(jax.tree.map(torch.tensor, old)), "num_batches_tracked": torch.tensor(0)}
        values = {**torch_params(params), **buffers}  # the calls change the buffers where they are
        call = lambda x: last(torch.func.functional_call(module, values, first(x, rank), strict=True), rank)  # noqa: E731
        module.train()
        ys = [call(step) for step in steps]
        module.eval()
        return *ys, call(x), buffers["running_mean"], buffers["running_var"]

    args = random_like(params, rng), [rng.normal(1, 2, shape) for _ in range(2)], rng.normal(size=shape)
    compare(ours, theirs, args, rng, assert_close)
