"""Names of JAX and Flax outside their stable public API, and every difference between their versions.

The only module that imports `jax.interpreters`, `jax.extend` and `jax.core` or compares versions; it holds for every
jax from 0.10 on. tests/base/test_compat.py lists what it relies on.
"""

import dataclasses
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
from jax.core import ShapedArray, Tracer
from jax.dtypes import extended, prng_key
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

__all__ = [
    "ClosedJaxpr", "Jaxpr", "JaxprEqn", "Literal", "Primitive", "ShapedArray", "Tracer", "Var", "ad",
    "backends_initialized", "batching", "bind", "compilation_cache_enabled", "debug_infs", "default_precision",
    "default_prng", "detected_cluster", "extended", "for_partitioning", "is_nnx_object", "jax_version",
    "jaxlib_version", "jaxpr_as_fun", "jit_disabled",
    "manual_axes", "mlir", "nnx_inputs", "prng_key", "register_taylor_rule", "scan_operands", "taylor_series_of",
]  # fmt: skip


def jax_version() -> str:
    """The version of jax, as "0.10.2"."""
    return jax.__version__


def jaxlib_version() -> str:
    """The version of jaxlib, as "0.10.2"."""
    return version("jaxlib")


def bind(eqn: JaxprEqn, operands: Sequence[Any], params: Mapping[str, Any] | None = None) -> list[Any]:
    """The results of an equation on arrays or tracers, with its own parameters unless others are given."""
    bound: Any = eqn.primitive.get_bind_params(dict(eqn.params if params is None else params))
    functions, bound = bound if isinstance(bound, tuple) else ((), bound)  # jax 0.10 has a tuple, 0.11 a dict
    out = eqn.primitive.bind(*functions, *operands, **bound)
    return list(out) if eqn.primitive.multiple_results else [out]


def register_taylor_rule(primitive: Primitive, rule: Callable[..., tuple[Any, list[Any]]]) -> None:
    """Register a primitive's rule for `jax.experimental.jet`: (primals, series, **params) -> (primal, series)."""
    try:
        from jax.experimental.jet import jet_rules
    except ImportError:  # experimental: may be moved
        return
    jet_rules[primitive] = rule


def for_partitioning(ctx: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The context in which a lowering rule can lower a `custom_partitioning`, and the devices in it; None if it cannot.

    JAX names the devices to the primitives that it knows to need them. Others of the same kind do as well: the
    partitioner knows devices by their number alone.
    """
    module = ctx.module_context
    count = getattr(module.axis_context, "num_devices", 1)  # of a program that XLA partitions
    if (
        count == 1
        or module.lowering_parameters.for_export
        or not getattr(jax.config, "jax_use_shardy_partitioner", True)
    ):
        return None
    devices = module.axis_context.device_assignment or tuple(jax.devices(module.platforms[0])[:count])
    if len(devices) < count:
        return None
    context = dataclasses.replace(module.axis_context, device_assignment=devices, abstract_mesh=None)
    return ctx.replace(module_context=module.replace(axis_context=context)), devices


def taylor_series_of(fun: Callable[..., Sequence[Any]]) -> Callable[..., tuple[Any, list[Any]]]:
    """The rule of `register_taylor_rule` for a primitive that computes `fun(*operands, **params)`, a sequence."""

    def rule(primals: Any, series: Any, **params: Any) -> tuple[Any, list[Any]]:
        from jax.experimental.jet import jet

        results, terms = jet(lambda *v: list(fun(*v, **params)), primals, series, factorial_scaled=False)
        return results, terms

    return rule


def manual_axes(shard_map: JaxprEqn) -> set[str]:
    """The mesh axes that a `shard_map` equation itself makes manual."""
    params = shard_map.params
    return set(params["newly_manual_axes"] if "newly_manual_axes" in params else params["manual_axes"])


def scan_operands(scan: JaxprEqn) -> tuple[int, int]:
    """How many of a `scan` equation's operands, the first ones, are constants, and how many after them its carry."""
    params = scan.params
    if "ft_in" in params:  # since jax 0.12
        consts, carry, _ = map(len, params["ft_in"].unpack())
        return consts, carry
    return params["num_consts"], params["num_carry"]


def _setting(name: str) -> Any:
    """A setting of `jax.config`, whose attributes no type checker knows."""
    return getattr(jax.config, name)


def default_precision() -> Any:
    """The setting `jax_default_matmul_precision`."""
    return _setting("jax_default_matmul_precision")


def jit_disabled() -> bool:
    """The setting `jax_disable_jit`."""
    return bool(_setting("jax_disable_jit"))


def default_prng() -> str:
    """The setting `jax_default_prng_impl`."""
    return str(_setting("jax_default_prng_impl"))


def debug_infs() -> bool:
    """The setting `jax_debug_infs`."""
    return bool(_setting("jax_debug_infs"))


def backends_initialized() -> bool:
    """Whether XLA has started in this process, after which it reads no flags."""
    from jax._src.xla_bridge import backends_are_initialized

    return bool(backends_are_initialized())


def compilation_cache_enabled() -> bool:
    """The setting `jax_enable_compilation_cache`."""
    return bool(_setting("jax_enable_compilation_cache"))


_SHOWN = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def detected_cluster(seconds: int) -> tuple[str, int, int, Any] | None:
    """The cluster that JAX finds itself in: coordinator, number of processes, own number and local devices.

    Args:
      seconds: time limit for asking the cluster.

    Returns:
      None outside of a cluster. Local devices are numbers, or None for all: one for each process, unless
      JAX_LOCAL_DEVICE_IDS names others or the cluster shows the process its own alone.
    """
    from jax._src.clusters import ClusterEnv

    given = [int(number) for number in os.environ.get("JAX_LOCAL_DEVICE_IDS", "").split(",") if number]
    if "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" not in os.environ:
        return None  # a pod of its own, as a notebook's
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the package that asks Kubernetes is missing
        found = ClusterEnv.auto_detect_unset_distributed_params(
            os.environ.get("JAX_COORDINATOR_ADDRESS"), None, None, given or None, None, seconds
        )
    address, number, index, local = found
    shown = next((os.environ[name] for name in _SHOWN if name in os.environ), None)
    if local and not given and shown is not None and max(local) >= len(shown.split(",")):
        local = None
    return None if address is None or number is None or index is None else (address, number, index, local)


def is_nnx_object(value: Any) -> bool:
    """Whether a value is a Flax NNX object; none is if Flax has not been imported."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, (getattr(nnx, "Pytree", None) or nnx.Object, nnx.Variable))


def nnx_inputs() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Flax's `merge_inputs` and `split_inputs`, which turn a function of NNX objects into one of pytrees and back."""
    from flax.nnx.transforms.general import merge_inputs, split_inputs

    return merge_inputs, split_inputs
