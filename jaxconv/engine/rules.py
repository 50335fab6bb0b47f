"""Rules for choosing a formulation, with the measurements behind them."""

import dataclasses
from collections.abc import Callable

from jaxconv.engine import native
from jaxconv.engine.dots import conv_dots
from jaxconv.engine.einsum import conv_einsum
from jaxconv.engine.form import EXACT_IN_F32, Form, Formulation
from jaxconv.engine.shifted import conv_shifted
from jaxconv.engine.simplify import simplified
from jaxconv.engine.xla import conv_canonical, conv_lax

FORMULATIONS: dict[str, Formulation] = {
    "lax": conv_lax,  # XLA's convolution, with JAX's gradients
    "canonical": conv_canonical,  # XLA's convolution in one layout, with gradients as forward convolutions
    "dots": conv_dots,  # one matrix product per kernel tap
    "shifted": conv_shifted,  # multiply-adds of shifted inputs, for depthwise and similar convolutions
    "native": native.conv_native,  # this package's own direct kernels in C++
    "winograd": native.conv_winograd,  # its 3×3 kernels by Winograd's transforms
    "einsum": conv_einsum,  # im2col and einsum, the reference
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Target of a compiled convolution.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      one_device: whether the program runs on one device: not exported, not partitioned by XLA.
    """

    platform: str = "cpu"
    one_device: bool = True


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule of a platform; the first that matches a form, and whose formulation can run it, decides.

    Attributes:
      impl: the formulation.
      slots: open slots it applies to.
      when: condition on the form and its place.
      why: the measurement behind it. "3×3 8×56²×64: 19, 15, 18 against 24, 30, 50": kernel, x, and ms of the rule's
        slots in the order y, x, k, against those of lax.
    """

    impl: str
    slots: str
    when: Callable[[Form, Place], bool]
    why: str


def _wide(form: Form, place: Place) -> bool:
    return form.product and form.k[-2] < form.k[-1]


def _exact_in_f32(form: Form, place: Place) -> bool:
    return form.dtype in EXACT_IN_F32


def _kernel_exceeds_maps(form: Form, place: Place) -> bool:
    cells = zip(form.kernel_size, form.x[1:-1], form.y[1:-1], strict=True)
    return any(taps > min(n, out) for taps, n, out in cells)


def grouped_kernel(form: Form) -> bool:
    """Whether a form is the gradient of a kernel in groups.

    XLA's partitioner sums that of `lax` over all devices, also those with the same part: with the batch sharded over
    one axis of a mesh 4×2, the sum is twice (or four times) what is right. jaxlib 0.10 to 0.12, every platform.
    """
    return form.slot == "k" and form.groups > 1


def _summed_wrongly(form: Form, place: Place) -> bool:
    return grouped_kernel(form) and not place.one_device


def _always(form: Form, place: Place) -> bool:
    return True


# Measured on 2 cores of an AMD EPYC (AVX2), jaxlib 0.10.2, f32: experiments/bench_rules.py; the native kernels on 2 of
# an Intel Xeon (AVX-512): experiments/bench_native.py.
RULES: dict[str, tuple[Rule, ...]] = {
    "cpu": (
        Rule("winograd", "xky", _always, "3×3 64×32²×64: 12, 10, 13 against 25, 26, 26 by native"),
        Rule("dots", "k", _wide, "1×1 8192×96→384: 4.5 against 4.8 by native; 96 to 24 channels: 4.9 against 1.8"),
        Rule("native", "k", _always, "3×3 64×32²×64: 26 against 150 by dots; 1×1 8×56²×64→256: 8 against 10 by dots"),
        Rule("dots", "xky", lambda form, place: form.pointwise, "1×1 8×56²×64→256: 6, 7, 10 against 11, 33, 98"),
        Rule("native", "xy", _always, "7×7 8×28²×64: 13, 12 against 30, 31; 32 groups, 8×14²×512: 2, 2 against 15, 18"),
        Rule("shifted", "xky", lambda form, place: form.depthwise, "3×3 8×28²×192: 1.4, 0.9, 20 against 38, 38, 75"),
        Rule("dots", "xky", lambda form, place: form.groups > 1, "32 groups, 8×14²×256: 7, 9, 4 against 8, 8, 1193"),
        Rule("dots", "xy", _kernel_exceeds_maps, "3×3 64×2²×512: 11, 13 against 798, 789; XLA swaps kernel and input"),
        Rule("canonical", "xy", _exact_in_f32, "the one layout that XLA's CPU backend runs fast in any computation"),
        Rule("dots", "xky", _always, "kernel gradients 47, 158 against 50, 909; f64 has no fast loop at all"),
    ),
    "gpu": (
        Rule("dots", "k", _summed_wrongly, "of kernels in groups: `lax` is wrong where XLA partitions it"),
        Rule("lax", "xky", _always, "XLA maps JAX's gradients to cuDNN"),
    ),
    "tpu": (
        Rule("dots", "k", _summed_wrongly, "as on GPUs"),
        Rule("lax", "xky", _always, "XLA runs convolutions on the matrix unit"),
    ),
}


def can_run(impl: str, form: Form, place: Place) -> bool:
    """Whether a formulation can compute a form there, and compiles in reasonable time."""
    if impl == "shifted":  # one multiply-add per tap and channel of a group, all in one fused loop
        return form.groups > 1 and form.k[-2] <= 4
    if impl not in ("native", "winograd"):
        return True
    if place.platform != "cpu" or not place.one_device or not native.available():
        return False
    return native.fits(form) if impl == "native" else native.fits_winograd(form) and native.winograd_enabled()


def is_candidate(impl: str, form: Form, place: Place) -> bool:
    """Whether a formulation is worth timing: it can run the form, and may be the fastest."""
    if not can_run(impl, form, place):
        return False
    kernel = form.slot == "k"
    if impl == "lax":
        return not (place.platform == "cpu" and kernel and form.groups > 8)
    if impl == "canonical":
        return _exact_in_f32(form, place) and not (kernel and form.groups > 1)
    return impl != "einsum"


def preferred(form: Form, place: Place) -> str:
    """The formulation that the rules choose for a form of one member."""
    form = simplified(form).form
    return next(
        rule.impl
        for rule in RULES[place.platform]
        if form.slot in rule.slots and rule.when(form, place) and can_run(rule.impl, form, place)
    )
