"""From a JAX function to an ONNX model: one rule for each primitive of its jaxpr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxconv._accelerate.plain import plain
from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, bind, extended, jax_version, scan_operands
from jaxconv._base.errors import ConfigError
from jaxconv._base.jaxpr import Liveness, called, interpret, opened
from jaxconv.export._elementwise import ELEMENTWISE, elementwise
from jaxconv.export._gather import GATHERS
from jaxconv.export._graph import Graph
from jaxconv.export._layout import LAYOUT, stacked, taken
from jaxconv.export._slices import SLICES
from jaxconv.export._tensors import Tensor, constant, element_type, refuse
from jaxconv.export._windows import WINDOWS

__all__ = ["to_onnx"]

OPSET, IR_VERSION = 19, 9  # of 2023: read by ONNX Runtime from 1.15, by TensorRT from 8.6
_LARGEST = 2**31 - 1  # bytes of a protobuf message

RULES: dict[str, Any] = {**dict.fromkeys(ELEMENTWISE, elementwise), **LAYOUT, **SLICES, **GATHERS, **WINDOWS}


def to_onnx(
    fn: Callable[..., Any],
    *inputs: Any,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Convert a JAX function to an ONNX model, checked by ONNX's own checker.

    Convolutions and pools become one node each, and the transposes between their layout and [N, *spatial, C] cancel;
    whatever does not depend on the inputs becomes a constant. Nodes are named after layers.

    Args:
      fn: a function of arrays that returns an array, or several in dicts or sequences. Random numbers, and loops whose
        number of steps depends on the input, cannot be exported.
      inputs: a shape (float32) or `jax.ShapeDtypeStruct` for each argument; a symbolic size is a name or a symbol of
        `jax.export.symbolic_shape`: ("n", 28, 28, 1).
      input_names: of the model; "input", or "input0", "input1", … by default.
      output_names: likewise.
      metadata: texts by name, for `metadata_props`.

    Returns:
      An `onnx.ModelProto`; `model.SerializeToString()` is the content of a file.

    Raises:
      ConfigError: if ONNX cannot express an operation; names its layer.

    Source: https://onnx.ai/onnx/operators, opset 19.

    >>> import jaxconv as jc
    >>> net = jc.chain(jc.Conv(8, 3), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dense(10))
    >>> params, state = net.init(jax.random.key(0), (1, 28, 28, 1))
    >>> model = to_onnx(lambda x: net.apply(params, state, x)[0], ("n", 28, 28, 1))
    >>> [node.op_type for node in model.graph.node]
    ['Transpose', 'Conv', 'Add', 'Relu', 'MaxPool', 'Transpose', 'Reshape', 'MatMul', 'Add']
    """
    import onnx
    from onnx import helper

    structs = _structs(inputs)
    program, shape = jax.make_jaxpr(plain(fn), return_shape=True)(*structs)
    results = jax.tree.leaves(shape)
    graph = Graph()
    names = _names(input_names, "input", len(structs))
    given = [graph.input(name, v.shape, v.dtype) for name, v in zip(names, structs, strict=True)]
    found = _run(graph, program, given)
    outputs = _names(output_names, "output", len(results))
    made = [graph.full(graph.written(tensor), v.shape) for tensor, v in zip(found, results, strict=True)]
    nodes, constants = _needed(_renamed(graph.nodes, made, outputs), graph.constants.values(), outputs)
    body = helper.make_graph(
        nodes,
        "jaxconv",
        [_value(name, v) for name, v in zip(names, structs, strict=True)],
        [_value(name, v) for name, v in zip(outputs, results, strict=True)],
        constants,
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="jax",
        producer_version=jax_version(),
    )  # fmt: skip
    helper.set_model_props(model, dict(metadata or {}))
    if model.ByteSize() > _LARGEST:
        raise refuse("an ONNX file holds at most 2 GiB", f"{model.ByteSize():,} bytes", "export .jaxexport instead")
    onnx.checker.check_model(model, full_check=True)
    return model


def _structs(inputs: Sequence[Any]) -> list[Any]:
    """Shapes and dtypes of the arguments, whose symbols of one name are one."""
    shapes = [v if isinstance(v, tuple) else tuple(v.shape) for v in inputs]
    text = ",".join(sorted({str(size) for shape in shapes for size in shape if isinstance(size, str)}))
    symbols = {str(symbol): symbol for symbol in jax.export.symbolic_shape(text)} if text else {}
    return [
        jax.ShapeDtypeStruct(
            [symbols.get(n, n) if isinstance(n, str) else n for n in shape], getattr(v, "dtype", np.float32)
        )
        for v, shape in zip(inputs, shapes, strict=True)
    ]


def _names(given: Sequence[str], word: str, count: int) -> list[str]:
    if given and len(given) != count:
        raise refuse(f"every {word} needs one name", f"{len(given)} names for {count}", "leave the names out")
    return [*given] or [word if count == 1 else f"{word}{i}" for i in range(count)]


def _value(name: str, struct: Any) -> Any:
    from onnx import helper

    sizes = [size if isinstance(size, int) else str(size) for size in struct.shape]
    return helper.make_tensor_value_info(name, element_type(struct.dtype), sizes)


def _renamed(nodes: Sequence[Any], names: Sequence[str], outputs: Sequence[str]) -> list[Any]:
    """The nodes, of which those that make results name them as the model does."""
    from onnx import helper

    made = {name for node in nodes for name in node.output}
    new = {name: output for name, output in zip(names, outputs, strict=True) if name in made}
    for node in nodes:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    again = [(new.get(name, name), output) for name, output in zip(names, outputs, strict=True)]
    return [*nodes, *(helper.make_node("Identity", [name], [output]) for name, output in again if name != output)]


def _needed(nodes: Sequence[Any], constants: Iterable[Any], outputs: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The nodes and constants that outputs depend on."""
    wanted, kept = {*outputs}, []
    for node in reversed(nodes):
        if wanted & {*node.output}:
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1], [tensor for tensor in constants if tensor.name in wanted]


def _run(graph: Graph, program: ClosedJaxpr | Jaxpr, operands: Sequence[Tensor]) -> list[Tensor]:
    """Write the nodes of a jaxpr."""
    jaxpr, consts = opened(program)
    live = Liveness()(jaxpr, [True] * len(jaxpr.outvars))

    def step(eqn: JaxprEqn, values: list[Tensor]) -> Sequence[Tensor]:
        with graph.inside(str(eqn.source_info.name_stack)):
            try:
                return _convert(graph, eqn, values)
            except ConfigError as error:
                if graph.path and not getattr(error, "placed", False):
                    error = ConfigError(f"at {graph.path}: {error}")
                error.placed = True  # type: ignore[attr-defined]
                raise error from None

    values = [constant(_array(value)) for value in consts]
    return interpret(jaxpr, [*values, *operands], step, lambda atom: constant(_literal(atom)), equations=[*live])


def _literal(atom: Any) -> Any:
    return np.asarray(atom.val, atom.aval.dtype)


def _array(value: Any) -> Any:
    """A constant, as NumPy's if it can be."""
    return value if jnp.issubdtype(value.dtype, extended) else np.asarray(value)


def _convert(graph: Graph, eqn: JaxprEqn, operands: list[Tensor]) -> Sequence[Tensor]:
    """Write the nodes of one operation; what depends on constants alone is computed."""
    name, inner = eqn.primitive.name, called(eqn)
    if inner is not None and name != "shard_map":
        return _run(graph, inner, operands)
    if name == "scan":
        return _unrolled(graph, eqn, operands)
    avals: list[Any] = [v.aval for v in eqn.outvars]
    static = all(isinstance(size, int) for aval in avals for size in aval.shape)
    if static and name not in ("broadcast_in_dim", "dim_as_value") and all(t.value is not None for t in operands):
        return [constant(_array(value)) for value in _evaluated(eqn, operands)]
    if static and all(0 in aval.shape for aval in avals):
        return [constant(np.zeros(aval.shape, aval.dtype)) for aval in avals]
    rule = RULES.get(name)
    if rule is None:
        shapes = ", ".join(str(v.aval) for v in eqn.invars)
        raise refuse("ONNX must have each operation of the function", f"{name} of {shapes}")
    found = rule(graph, eqn, *operands)
    return found if isinstance(found, list) else [found]


def _evaluated(eqn: JaxprEqn, operands: Sequence[Tensor]) -> list[Any]:
    """The results of an operation on constants; elementwise ones stay as small as their operands."""
    values = [t.value for t in operands]
    if eqn.primitive.name in ELEMENTWISE:
        shape = np.broadcast_shapes(*(value.shape for value in values))
        return bind(eqn, [np.broadcast_to(value, shape) if value.ndim else value for value in values])
    avals: list[Any] = [v.aval for v in eqn.invars]
    full = [value if value.shape == aval.shape else np.broadcast_to(value, aval.shape)
            for value, aval in zip(values, avals, strict=True)]  # fmt: skip
    return bind(eqn, full)


def _unrolled(graph: Graph, eqn: JaxprEqn, operands: list[Tensor]) -> list[Tensor]:
    """A scan, step by step."""
    p, (consts, carried) = eqn.params, scan_operands(eqn)
    fixed, carry, rows = operands[:consts], operands[consts : consts + carried], operands[consts + carried :]
    avals: list[Any] = [v.aval for v in eqn.invars[consts + carried :]]
    rows = [t if t.value is None else dataclasses.replace(t, value=np.broadcast_to(t.value, aval.shape))
            for t, aval in zip(rows, avals, strict=True)]  # fmt: skip
    steps = []
    for number in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        row = [taken(graph, t, 0 if t.shape[0] == 1 and t.value is None else number) for t in rows]
        found = _run(graph, p["jaxpr"], [*fixed, *carry, *row])
        carry = found[:carried]
        steps.append(found[carried:])
    whole: list[Any] = [v.aval for v in eqn.outvars[carried:]]
    columns = zip(*(steps[::-1] if p["reverse"] else steps), strict=True)
    return [*carry, *(stacked(graph, column, aval.shape[1:], 0) for column, aval in zip(columns, whole, strict=True))]
