"""JAX primitives: the convolution form, and the selection of maxima.

The jvp, transpose and batching rules of `conv_p` give forms again (see `form`). Gradients of any order, in forward or
reverse mode, under vmap, scan or remat, are therefore convolutions or gradients that `dispatch` runs by its fastest
formulation. All rules for JAX's interpreters are in this file.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.compat import Primitive, ad, batching, for_partitioning, mlir, register_taylor_rule
from jaxconv._base.dtypes import promoted
from jaxconv.engine.dispatch import choose, run
from jaxconv.engine.form import Form, shared_index
from jaxconv.engine.partitioning import Shard, partitioned
from jaxconv.engine.placement import (
    local_lowering,
    match_varying_axes,
    one_device,
    resharded,
    result_sharding,
    run_compiled,
)
from jaxconv.engine.rules import Place, grouped_kernel
from jaxconv.engine.select import Choice, apply_choice

conv_p = Primitive("jaxconv_conv")


def bind(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
    """Compute the open slot of `form`, in `form.dtype`, from the other two in the order x, k, y."""
    dtype = promoted(a.dtype, b.dtype)
    a, b = match_varying_axes(a.astype(dtype), b.astype(dtype))
    for slot, array in zip(form.operands, (a, b), strict=True):
        if array.shape != form.shape(slot):
            raise ValueError(f"expected {slot} of shape {form.shape(slot)} for {form}, got {array.shape}")
    return conv_p.bind(a, b, form=form)


run_compiled(conv_p, "form")


@conv_p.def_abstract_eval
def _abstract(a: Any, b: Any, *, form: Form) -> Any:
    operands = [(t, form.axes(slot)) for t, slot in zip((a, b), form.operands, strict=True)]
    sharding = result_sharding(a, form.axes(form.slot), operands)
    return a.update(shape=form.shape(form.slot), dtype=jnp.dtype(form.dtype), weak_type=False, sharding=sharding)


# ---------------------------------------------------------------- derivatives


def _transpose(which: int, ct: jax.Array, a: Any, b: Any, *, form: Form) -> jax.Array:
    """The cotangent of one operand: the same T with that operand's slot open."""
    slot, other = form.operands[which], form.operands[1 - which]
    aval = (a if which == 0 else b).aval
    arrays = {form.slot: ct, other: b if which == 0 else a}
    gradient = form.open(slot, dtype=str(aval.dtype))
    first, second = gradient.operands
    return resharded(bind(arrays[first], arrays[second], gradient), aval)


ad.defbilinear(conv_p, functools.partial(_transpose, 0), functools.partial(_transpose, 1))


# ---------------------------------------------------------------- vmap


def _batch(arrays: Any, axes: Any, *, form: Form) -> tuple[jax.Array, int]:
    """vmap over both operands adds members; over one, it enlarges that operand's n, c or o."""
    a, b = (v if axis is None else jnp.moveaxis(v, axis, 0) for v, axis in zip(arrays, axes, strict=True))
    count = (b if axes[0] is None else a).shape[0]
    if None not in axes:
        members = form.num_members * count
        a, b = (v.reshape(members, *getattr(form, slot)) for v, slot in zip((a, b), form.operands, strict=True))
        y = bind(a, b, form.open(form.slot, members=members))
        return y.reshape(count, *form.shape(form.slot)), 0
    # Over one operand: merge the new axis into the index that only this operand and the result have.
    slot = form.operands[0 if axes[1] is None else 1]
    letter = shared_index(form.slot, slot)
    merged = _merge(b if axes[0] is None else a, slot, letter, form)
    enlarged = _enlarged(form, letter, count)
    y = bind(a, merged, enlarged) if axes[0] is None else bind(merged, b, enlarged)
    return _split(y, form.slot, letter, form, count), 0


batching.primitive_batchers[conv_p] = _batch


def _enlarged(form: Form, letter: str, count: int) -> Form:
    """`form` with index n, c or o `count` times as long."""
    x, k = list(form.x), list(form.k)
    for shape, axis in {"n": [(x, 0)], "c": [(x, -1), (k, -2)], "o": [(k, -1)]}[letter]:
        shape[axis] *= count
    return form.open(form.slot, x=tuple(x), k=tuple(k))


def _merge_position(slot: str, letter: str, form: Form) -> tuple[int, int, int]:
    """Position of a new axis within the axis of an index: (axis, size outside of the new axis, size inside of it).

    Images are outside, so that a batch sharded over devices stays sharded; groups are outside of channels.
    """
    lead = form.members is not None
    if letter == "n":
        return int(lead), form.x[0], 1
    shape = getattr(form, slot)
    if slot == "k" and letter == "c":
        return len(shape) - 2 + lead, 1, shape[-2]
    return len(shape) - 1 + lead, form.groups, shape[-1] // form.groups


def _merge(v: jax.Array, slot: str, letter: str, form: Form) -> jax.Array:
    """[count, (members), ...] -> the same with the first axis merged into the axis of `letter`."""
    axis, outer, inner = _merge_position(slot, letter, form)
    count, rest = v.shape[0], v.shape[1:]
    v = v.reshape(count, *rest[:axis], outer, inner, *rest[axis + 1 :])
    v = jnp.moveaxis(v, 0, axis + 1)  # [..., outer, count, inner, ...]
    return v.reshape(*rest[:axis], outer * count * inner, *rest[axis + 1 :])


def _split(v: jax.Array, slot: str, letter: str, form: Form, count: int) -> jax.Array:
    """The inverse of `_merge`."""
    axis, outer, inner = _merge_position(slot, letter, form)
    rest = form.shape(slot)
    v = v.reshape(*rest[:axis], outer, count, inner, *rest[axis + 1 :])
    return jnp.moveaxis(v, axis + 1, 0).reshape(count, *rest)


# ---------------------------------------------------------------- selection of maxima

select_p = Primitive("jaxconv_select")


def select(v: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    """`engine.select.apply_choice`: linear in v, with the adjoint map as its transpose."""
    v, code = match_varying_axes(v, code)
    return select_p.bind(v, code, choice=choice)


run_compiled(select_p, "choice")
mlir.register_lowering(select_p, local_lowering(apply_choice))
ad.defjvp(select_p, lambda tangent, v, code, *, choice: select(tangent, code, choice), None)


@select_p.def_abstract_eval
def _select_abstract(v: Any, code: Any, *, choice: Choice) -> Any:
    axes = ("n", *(None,) * len(choice.n), "c")
    return v.update(
        shape=choice.shape(v.shape), weak_type=False, sharding=result_sharding(v, axes, [(v, axes), (code, axes)])
    )


def _select_transpose(ct: Any, v: Any, code: Any, *, choice: Choice) -> Any:
    if isinstance(ct, ad.Zero):
        return ad.Zero(v.aval), None
    return select(ct, code, choice.adjoint), None


def _select_batch(arrays: Any, axes: Any, *, choice: Choice) -> tuple[jax.Array, int]:
    """Merge the new axis into the batch, inside of the images: a batch sharded over devices stays sharded."""
    count = next(v.shape[axis] for v, axis in zip(arrays, axes, strict=True) if axis is not None)
    v, code = (
        jnp.broadcast_to(jnp.expand_dims(a, 1), (a.shape[0], count, *a.shape[1:]))
        if axis is None
        else jnp.moveaxis(a, axis, 1)
        for a, axis in zip(arrays, axes, strict=True)
    )
    n = v.shape[0]
    v, code = (a.reshape(n * count, *a.shape[2:]) for a in (v, code))
    y = select(v, code, choice)
    return y.reshape(n, count, *y.shape[1:]), 1


ad.primitive_transposes[select_p] = _select_transpose
batching.primitive_batchers[select_p] = _select_batch

# ---------------------------------------------------------------- Taylor series (jax.experimental.jet)


def _conv_taylor(primals: Any, series: Any, *, form: Form) -> tuple[jax.Array, list[jax.Array]]:
    """The product of two polynomials: coefficient k is the sum of the convolutions of coefficients i and k - i."""
    a, b = ([primal, *terms] for primal, terms in zip(primals, series, strict=True))
    first, *rest = (
        functools.reduce(jnp.add, (conv_p.bind(a[i], b[k - i], form=form) for i in range(k + 1))) for k in range(len(a))
    )
    return first, rest


def _select_taylor(primals: Any, series: Any, *, choice: Choice) -> tuple[jax.Array, list[jax.Array]]:
    v, code = primals
    return select(v, code, choice), [select(term, code, choice) for term in series[0]]


register_taylor_rule(conv_p, _conv_taylor)
register_taylor_rule(select_p, _select_taylor)

# ---------------------------------------------------------------- lowering


def _lower(platform: str, ctx: Any, a: Any, b: Any, *, form: Form) -> Any:
    place = Place(platform, one_device(ctx.module_context))
    found = None if place.one_device or not _divides(form, platform) else for_partitioning(ctx)
    if found is None:
        return local_lowering(run, form=form, place=place)(ctx, a, b)
    ctx, devices = found
    operands, results = [_cut_axes(form, slot) for slot in form.operands], [_cut_axes(form, form.slot)]
    whole = partitioned(functools.partial(_shard, form, Place(platform)), operands, results, devices)
    return local_lowering(lambda *arrays: whole(*arrays)[0])(ctx, a, b)


def _divides(form: Form, platform: str) -> bool:
    """Whether the engine itself divides a form among devices.

    Calls that XLA does not know; products, whose rows it would gather to merge them; and gradients that it gets wrong,
    those of kernels in groups (see `rules.grouped_kernel`).
    """
    if 0 in (*form.shape("x"), *form.shape("k"), *form.shape("y")):
        return False
    impl = choose(form.open(form.slot, members=None), Place(platform))
    return impl in ("native", "winograd") or (impl == "dots" and form.product) or grouped_kernel(form)


def _cut_axes(form: Form, slot: str) -> tuple[str | None, ...]:
    """Names of the axes that devices may have parts of: of channels in groups only those that all are depthwise."""
    *names, last = form.axes(slot)
    if form.groups > 1:
        last = "g" if form.depthwise and form.k[-1] == form.groups else None
    return tuple(None if name and name.endswith("of a group") else name for name in (*names, last))


def _shard(form: Form, place: Place, shard: Shard) -> Any:
    """The function of one device that has parts of the operands of `form`."""
    of = {name: shard.parts.get(name, 1) for name in ("m", "n", "c", "o", "g", "i0", "i1", "i2")}
    first, second = (_cut_axes(form, slot) for slot in form.operands)
    summed = set(shard.axes) & set(first) & set(second) - set(_cut_axes(form, form.slot))
    cells = (n // of[f"i{axis}"] for axis, n in enumerate(form.x[1:-1]))
    part = form.open(
        form.slot,
        x=(form.x[0] // of["n"], *cells, form.x[-1] // of["c"] // of["g"]),
        k=(*form.kernel_size, form.k[-2] // of["c"], form.k[-1] // of["o"] // of["g"]),
        groups=form.groups // of["g"],
        members=None if form.members is None else form.members // of["m"],
        dtype=str(promoted(form.dtype, "float32")) if summed else form.dtype,
    )

    def local(a: jax.Array, b: jax.Array) -> tuple[jax.Array]:
        return (shard.sum(run(a, b, part, place), summed).astype(form.dtype),)

    return local


for _platform in ("cpu", "gpu", "tpu"):
    mlir.register_lowering(conv_p, functools.partial(_lower, _platform), platform=_platform)
