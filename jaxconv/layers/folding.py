"""Batch norm folding: for inference, a batch norm becomes part of the convolution or dense layer before it."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jaxconv._base.compat import Jaxpr, JaxprEqn, Literal
from jaxconv._base.jaxpr import called, opened
from jaxconv._base.types import InputSpec, Params, ParamsLike, State
from jaxconv.layers.layer import Layer, Part, check_params, lift, shape_of
from jaxconv.layers.surgery import with_layers

__all__ = ["fold_batch_norms"]

_OUT, _IN = "output of ", "input of "
_AFFINE = {"jaxconv_conv", "dot_general", "broadcast_in_dim", "add", "convert_element_type", "reshape"}
"""Primitives of layers whose output is linear in kernel and bias together."""


def fold_batch_norms(net: Part, params: ParamsLike, state: State, x: InputSpec) -> tuple[Layer, Params, State]:
    """The net for inference with each batch norm folded into the layer before it: kernels scaled, a bias in its place.

    A batch norm is folded if its input is the output of a convolution (also depthwise, grouped or transposed) or dense
    layer that nothing else reads. All others stay: before the convolution, after a pool, inside `repeat`, or after a
    layer with a kernel transform or with tied weights.

    Args:
      net: a layer.
      params: its parameters.
      state: its state, with the running statistics.
      x: an input of the net: an array, a `jax.ShapeDtypeStruct` or a shape.

    Returns:
      (net, params, state) with parts of the same names. In place of a folded batch norm stands a layer with a parameter
      `bias` [C] and no state; outputs with `train=False` are equal up to rounding. Not for further training.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
      2017, section 3.2.

    >>> from jaxconv.layers import BatchNorm, Conv, chain
    >>> net = chain(conv=Conv(4, 3, bias=False), norm=BatchNorm(), relu=jax.nn.relu)
    >>> params, state = net.init(jax.random.key(0), (1, 8, 8, 3))
    >>> folded, params, state = fold_batch_norms(net, params, state, (1, 8, 8, 3))
    >>> folded
    chain
      conv: Conv(4, 3, bias=False)
      norm: bias
      relu: relu
    >>> jax.tree.map(jnp.shape, params["norm"]), state["norm"]
    ({'bias': (4,)}, {})
    """
    net, norms = lift(net), dict[str, Layer]()
    before: dict[str, tuple[Layer, Any]] = {}

    def mark(layer: Layer, path: str) -> Layer:
        def apply(params: Any, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
            if layer.name == "batch_norm":
                norms[path] = layer
                return layer.apply(params, state, checkpoint_name(x, _IN + path), key=key, train=train)
            y, new = layer.apply(params, state, x, key=key, train=train)
            plain = isinstance(params, Mapping) and "kernel" in params and not params.keys() - {"kernel", "bias"}
            if not plain or new or not hasattr(x, "shape"):
                return y, new
            before[path] = layer, jax.typeof(x)
            return checkpoint_name(y, _OUT + path), new

        return dataclasses.replace(layer, apply=apply)

    marked = with_layers(net, mark)
    program = jax.make_jaxpr(lambda *trees: marked.apply(*trees)[0])(params, state, shape_of(x))
    new, kept, folded = _plain(params), _plain(state), set[str]()
    for norm, path in _pairs(program.jaxpr):
        own, statistics, layer = _at(new, norm), _at(kept, norm), _at(new, path)
        axes = _output_axes(*before[path], layer)
        if axes is None:
            continue
        affine = {**own, "bias": jnp.zeros_like(own["bias"])} if "bias" in own else own
        centered = {**statistics, "mean": jnp.zeros_like(statistics["mean"])}
        scale, _ = norms[norm].apply(affine, centered, jnp.ones_like(statistics["var"])[None])
        bias = own.get("bias", 0) - statistics["mean"] * scale[0]
        for name, leaf in layer.items():
            layer[name] = (leaf * (axes(scale[0]) if name == "kernel" else scale[0])).astype(leaf.dtype)
        own.clear()
        own["bias"] = bias.astype(layer["kernel"].dtype)
        statistics.clear()
        folded.add(norm)
    return with_layers(net, lambda layer, path: _bias() if path in folded else layer), new, kept


def _bias() -> Layer:
    """Adds a parameter `bias` [C]; it is only made by folding."""

    def init(key: Any, x: Any) -> tuple[Params, State]:
        struct = shape_of(x)
        return {"bias": jnp.zeros(struct.shape[-1:], struct.dtype)}, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("bias", params, ("bias",))
        return x + params["bias"].astype(x.dtype), state

    return Layer("bias", init, apply)


def _plain(tree: Any) -> Any:
    """A copy of nested mappings as dicts."""
    return {name: _plain(part) for name, part in tree.items()} if hasattr(tree, "items") else tree


def _at(tree: Any, path: str) -> Any:
    """The part of nested dicts at a path with a slash after each name."""
    return functools.reduce(lambda part, name: part[name], filter(None, path.split("/")), tree)


def _pairs(program: Jaxpr) -> Iterator[tuple[str, str]]:
    """The paths of each batch norm and the layer whose output it alone reads, both of which run once."""
    found, seen = list[tuple[str, str]](), collections.Counter[str]()
    for jaxpr in _entered(program):
        readers = collections.Counter(v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, Literal))
        readers.update(v for v in jaxpr.outvars if not isinstance(v, Literal))
        names = {eqn.outvars[0]: eqn.params["name"] for eqn in jaxpr.eqns if eqn.primitive.name == "name"}
        seen.update(names.values())
        for eqn in jaxpr.eqns:
            source = eqn.invars[0] if eqn.invars else None
            if eqn.primitive.name == "name" and source in names and readers[source] == 1:
                inside, outside = eqn.params["name"], names[source]
                if inside.startswith(_IN) and outside.startswith(_OUT):
                    found.append((inside.removeprefix(_IN), outside.removeprefix(_OUT)))
    return (pair for pair in found if seen[_IN + pair[0]] == seen[_OUT + pair[1]] == 1)


def _entered(jaxpr: Jaxpr) -> Iterator[Jaxpr]:
    """The jaxpr and those that it calls once, but for loops."""
    yield jaxpr
    for eqn in jaxpr.eqns:
        if (inner := called(eqn)) is not None:
            yield from _entered(opened(inner)[0])


def _output_axes(layer: Layer, x: Any, params: Params) -> Any:
    """`scale [C] -> factor of the kernel` of a layer; None if its output is not linear in the kernel."""
    jaxpr = jax.make_jaxpr(lambda params: layer.apply(params, {}, jnp.zeros(x.shape, x.dtype))[0])(params).jaxpr
    if {eqn.primitive.name for eqn in jaxpr.eqns} - _AFFINE:
        return None
    kernel = jaxpr.invars[list(params).index("kernel")]
    while len(readers := [eqn for eqn in jaxpr.eqns if kernel in eqn.invars]) == 1:
        (eqn,) = readers
        if eqn.primitive.name != "convert_element_type":
            return _factor(eqn, kernel)
        kernel = eqn.outvars[0]
    return None


def _factor(eqn: JaxprEqn, kernel: Any) -> Any:
    """The same for the operation that reads the kernel."""
    if eqn.primitive.name == "dot_general":
        (_, contracted), batch = eqn.params["dimension_numbers"]
        one = kernel.aval.ndim == 2 and tuple(contracted) == (0,) and not any(batch) and kernel is eqn.invars[1]
        return (lambda scale: scale) if one else None
    form = eqn.params.get("form")
    if form is None or form.members is not None:
        return None
    if form.slot == "y":
        return lambda scale: scale
    # A transposed convolution: [*k, outputs of a group, inputs], with the inputs of one group after another's.
    inputs = form.k[-1] // form.groups
    return lambda scale: jnp.repeat(scale.reshape(form.groups, -1).T, inputs, axis=1)
