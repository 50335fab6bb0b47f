"""Windows and MACs of the convolutions and matrix products of a jaxpr."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from jaxconv.analysis.receptive_field import Axis
from jaxconv.engine.form import Form
from jaxconv.geometry import Pair

__all__ = ["Convolution", "Products", "conv_axes", "products"]

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution as windows on one of its operands.

    Attributes:
      operand: index of the operand that the windows move over.
      lead, spatial, features: its dimensions: batch (and members), spatial, channels.
      axes: the windows on each spatial dimension.
      groups: of channels.
      out_features: of the result.
      out_order: the result's dimensions in the order lead, spatial, features.
    """

    operand: int
    lead: tuple[int, ...]
    spatial: tuple[int, ...]
    features: int
    axes: tuple[Axis, ...]
    groups: int
    out_features: int
    out_order: tuple[int, ...]


def conv_axes(params: Any, shapes: Sequence[Shape], out: Shape) -> Convolution | None:
    """Parse a convolution of `jax.lax` or of the engine; None if its result is a kernel, or batches are groups."""
    if "form" in params:
        return _of_form(params["form"], out)
    if params["batch_group_count"] > 1:
        return None
    numbers = params["dimension_numbers"]
    (n, c, *cells), (_, _, *taps), (on, oc, *oz) = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    columns = zip(
        cells, taps, oz, params["window_strides"], params["padding"], params["rhs_dilation"], params["lhs_dilation"],
        strict=True,
    )  # fmt: skip
    axes = tuple(Axis(out[o], shapes[1][t], s, int(lo), d, a) for _, t, o, s, (lo, _), d, a in columns)
    return Convolution(0, (n,), tuple(cells), c, axes, params["feature_group_count"], out[oc], (on, *oz, oc))


def _of_form(form: Form, out: Shape) -> Convolution | None:
    if form.slot == "k":
        return None
    lead = tuple(range(2 if form.members else 1))
    spatial = tuple(range(len(lead), len(lead) + form.rank))
    features = len(lead) + form.rank
    columns = zip(form.kernel_size, form.stride, form.padding, form.dilation, form.x[1:-1], form.y[1:-1], strict=True)
    if form.slot == "y":
        axes, operand = tuple(Axis(o, k, s, lo, d) for k, s, (lo, _), d, _, o in columns), 0
    else:
        axes, operand = tuple(Axis(n, k, 1, d * (k - 1) - lo, d, s) for k, s, (lo, _), d, n, _ in columns), 1
    return Convolution(operand, lead, spatial, features, axes, form.groups, out[-1], tuple(range(len(out))))


@dataclasses.dataclass(frozen=True)
class Products:
    """Multiplications of one convolution or matrix product.

    Attributes:
      macs: multiply-accumulates, including taps on padding.
      inside: MACs excluding taps on padding.
      size, stride, padding, dilation: of its windows, for each spatial axis; empty for a matrix product.
      groups: of channels.
      transposed: whether it is a transposed convolution; size, stride and padding are those of its adjoint.
    """

    macs: int
    inside: int
    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[Pair, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False


def products(name: str, params: Any, shapes: Sequence[Shape], out: Shape) -> Products | None:
    """Multiplications of one operation; None if it is neither a convolution nor a matrix product."""
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        macs = math.prod(out) * math.prod(shapes[0][d] for d in contracted)
        return Products(macs, macs)
    if name == "jaxconv_conv":
        return _form_products(params["form"])
    return _lax_products(params, shapes, out) if name == "conv_general_dilated" else None


def _form_products(form: Form) -> Products:
    """The three derivatives of a trilinear form have equal MACs."""
    rest = form.num_members * form.x[0] * form.k[-2] * form.k[-1]
    columns = zip(form.y[1:-1], form.kernel_size, form.stride, form.padding, form.dilation, form.x[1:-1], strict=True)
    inside = math.prod(Axis(o, k, s, lo, d).inside(n) for o, k, s, (lo, _), d, n in columns)
    macs = rest * math.prod(form.y[1:-1]) * math.prod(form.kernel_size)
    window = (form.kernel_size, form.stride, form.padding, form.dilation, form.groups)
    return Products(macs, rest * inside, *window, transposed=form.slot == "x")


def _lax_products(params: Any, shapes: Sequence[Shape], out: Shape) -> Products:
    numbers = params["dimension_numbers"]
    (_, _, *cells), (_, i, *taps), (_, _, *oz) = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    columns = zip(
        (shapes[0][d] for d in cells), (shapes[1][d] for d in taps), (out[d] for d in oz), params["window_strides"],
        params["padding"], params["rhs_dilation"], params["lhs_dilation"], strict=True,
    )  # fmt: skip
    every, inside = 1, 1
    window: list[Any] = []
    for n, k, o, s, (lo, hi), d, a in columns:
        axis = Axis(o, k, s, int(lo), d, a)
        inside *= axis.inside(n)
        every *= o * k if a == 1 else n * k if s == 1 else int(axis.taps()[1].sum())
        reach = d * (k - 1)
        window.append((k, s, (lo, hi), d) if a == 1 else (k, a, (reach - lo, reach - hi), d))
    rest = math.prod(out) // math.prod(out[d] for d in oz) * shapes[1][i]
    groups = max(params["feature_group_count"], params["batch_group_count"])
    words: dict[str, Any] = dict(zip(("size", "stride", "padding", "dilation"), zip(*window, strict=True), strict=True))
    transposed = max(params["lhs_dilation"], default=1) > 1
    return Products(rest * every, rest * inside, **words, groups=groups, transposed=transposed)
