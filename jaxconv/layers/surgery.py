"""Changing a net that stands: another part, a shorter net, weights that stay as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxconv.errors import ShapeError, did_you_mean
from jaxconv.layer import Layer, Tree, lift, wire
from jaxconv.paths import fits, leaf_names


def replace(net: Layer, path: str, part: Any) -> Layer:
    """The net with one part replaced; `init` draws the same weights as before for all the others.

    Args:
      net: a composite.
      path: of the part, "head" or "stage1/conv0".
      part: the layer or callable that takes its place.

    Returns:
      A new Layer.

    Raises:
      ShapeError: a path that is not there.

    >>> import jax.numpy as jnp
    >>> from jaxconv.layers import chain
    >>> replace(chain(body=jnp.sin, head=jnp.cos), "head", jnp.tanh)
    chain
      body: sin
      head: tanh
    """
    return _replace(lift(net), check_path(path), part, path)


def _replace(net: Layer, path: str, part: Any, whole: str) -> Layer:
    name, slash, rest = path.partition("/")
    found = _part(net, name, whole)
    assert net.rebuild is not None
    return net.rebuild({**net.parts, name: _replace(found, rest, part, whole) if slash else lift(part)})


def features(net: Layer, upto: str) -> Layer:
    """The net up to and with one part: a backbone.

    Args:
      net: a net whose parts run in the order they stand in.
      upto: path of the last part, "stage3" or "stage3/conv1".

    Returns:
      A Layer that gives that part's output. Its `apply` takes the whole net's params and state, or those
      that its own `init` draws (the same weights), and hands the state back in the form that it got.

    Raises:
      ShapeError: a path that is not there.

    >>> import jax.numpy as jnp
    >>> from jaxconv.layers import chain
    >>> features(chain(a=jnp.sin, b=jnp.cos, c=jnp.tanh), upto="b")
    chain
      a: sin
      b: cos
    """
    cut = _cut(lift(net), check_path(upto), upto)

    def apply(params: Tree, state: Tree, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, Tree]:
        y, new = cut.apply(_prune(params, cut), _prune(state, cut), x, key=key, train=train)
        return y, _merge(state, new)

    return Layer(cut.name, cut.init, apply, cut.parts, cut.flow, cut.rebuild)


class _Reached(Exception):
    """Carries the last part's output out of the flow."""

    def __init__(self, y: Any):
        self.y = y


def _cut(net: Layer, upto: str, whole: str) -> Layer:
    name, slash, rest = upto.partition("/")
    last, flow = _part(net, name, whole), net.flow
    if flow is None:
        raise ShapeError("features cuts nets of wire, chain, residual and branch", got=f"{net.name} in {whole!r}")
    names = list(net.parts)
    parts = {n: net.parts[n] for n in names[: names.index(name)]}
    parts[name] = _cut(last, rest, whole) if slash else last

    def shorter(call: Any, x: Any) -> Any:
        def watched(part: str, *args: Any, **kwargs: Any) -> Any:
            if part in net.parts and part not in parts:
                raise ShapeError(
                    "features needs parts that run in the order they stand in", got=f"{part!r} runs before {name!r}"
                )
            y = call(part, *args, **kwargs)
            if part == name:
                raise _Reached(y)
            return y

        try:
            flow(watched, x)
        except _Reached as end:
            return end.y
        raise ShapeError("features needs a flow that calls the part", got=f"{name!r} is never called")

    return wire(net.name, parts, shorter)


def check_path(path: Any) -> str:
    """`path` if it is text; raises ShapeError otherwise."""
    if not isinstance(path, str):
        raise ShapeError("a path must be text like 'stage1/conv0'", got=f"{path!r}")
    return path


def _part(net: Layer, name: str, path: str) -> Layer:
    if name not in net.parts:
        known = ", ".join(net.parts) or "no parts"
        raise ShapeError(f"{net.name} has {known}", got=f"path {path!r}{did_you_mean(name, net.parts)}")
    return net.parts[name]


def _prune(tree: Tree, layer: Layer) -> Tree:
    if not layer.parts or not isinstance(tree, Mapping) or not layer.parts.keys() <= tree.keys():
        return tree
    return {name: _prune(tree[name], part) for name, part in layer.parts.items()}


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> Tree:
    return {n: _merge(v, new[n]) if isinstance(v, Mapping) and n in new else new.get(n, v) for n, v in old.items()}


def partition(tree: Any, labels: Mapping[str, str | Sequence[str]], default: str = "train") -> Any:
    """Labels every leaf by its path, for `optax.multi_transform`.

    Args:
      tree: params (nested dicts).
      labels: {label: pattern or patterns}; a pattern is a path with * and ? ("stem/*", "*/bias"), and
        the path of a whole part stands for all in it. The first label that fits counts.
      default: the label of all other leaves.

    Returns:
      A tree of strings, of tree's structure.

    Raises:
      ShapeError: a pattern that no leaf fits.

    >>> partition({"stem": {"kernel": 0, "bias": 0}, "head": {"kernel": 0}}, {"frozen": "stem"})
    {'head': {'kernel': 'train'}, 'stem': {'bias': 'frozen', 'kernel': 'frozen'}}
    """
    if not isinstance(labels, Mapping):
        raise ShapeError("labels must be {label: pattern or patterns}", got=f"{labels!r}", fix="{'frozen': 'stem'}")
    pairs = [(word, p) for word, found in labels.items() for p in ([found] if isinstance(found, str) else found)]
    paths = leaf_names(tree)
    prefixes = sorted({path.rsplit("/", i)[0] for path in paths for i in range(path.count("/") + 1)})

    for _, pattern in pairs:
        if not any(fits(path, pattern) for path in paths):
            raise ShapeError(
                "a pattern must fit at least one parameter",
                got=f"{pattern!r}{did_you_mean(pattern, prefixes)}",
                fix=f"paths here: {', '.join(paths[:8])}{', …' if len(paths) > 8 else ''}"
                if paths
                else "a tree of params",
            )
    marks = [next((word for word, pattern in pairs if fits(path, pattern)), default) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(tree), marks)


def freeze(optimizer: Any, *patterns: str) -> Any:
    """An optax optimiser that leaves the parameters alone whose paths fit a pattern.

    Args:
      optimizer: an `optax.GradientTransformation`.
      patterns: as in `partition`.

    Returns:
      An `optax.GradientTransformation`; frozen parameters get updates of zero and no optimiser state.

    >>> import optax, jax.numpy as jnp
    >>> params = {"stem": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = freeze(optax.sgd(0.5), "stem")
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> updates["stem"]["kernel"], updates["head"]["kernel"]
    (Array([0., 0.], dtype=float32), Array([-0.5, -0.5], dtype=float32))
    """
    import optax

    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ShapeError("freeze needs patterns", got=f"{patterns!r}", fix="freeze(optimizer, 'stem', '*/bias')")
    parts = {"train": optimizer, "frozen": optax.set_to_zero()}
    return optax.multi_transform(parts, lambda params: partition(params, {"frozen": patterns}))


def slow(optimizer: Any, rates: Mapping[str, float]) -> Any:
    """An optax optimiser that moves some parameters by a share of its updates: a lower learning rate for a backbone.

    Args:
      optimizer: an `optax.GradientTransformation`.
      rates: {pattern: share}; patterns as in `partition`, the first that fits counts, and what none fits moves wholly.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ShapeError: when first used, a pattern that no parameter fits; a share that is no number ≥ 0.

    >>> import optax, jax.numpy as jnp
    >>> params = {"stem": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = slow(optax.sgd(1.0), {"stem": 0.25})
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> updates["stem"]["kernel"], updates["head"]["kernel"]
    (Array([-0.25, -0.25], dtype=float32), Array([-1., -1.], dtype=float32))
    """
    import optax

    if not isinstance(rates, Mapping) or not all(
        isinstance(share, int | float) and share >= 0 for share in rates.values()
    ):
        raise ShapeError("slow needs {pattern: share ≥ 0}", got=f"{rates!r}", fix="slow(optimizer, {'stem': 0.1})")
    labels, shares = {str(i): pattern for i, pattern in enumerate(rates)}, list(rates.values())

    def init(params: Any) -> Any:
        partition(params, labels)  # a pattern that fits nothing is told before the first step
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        marks = partition(updates, labels, default="")
        return jax.tree.map(lambda leaf, mark: leaf * shares[int(mark)] if mark else leaf, updates, marks), state

    return optax.chain(optimizer, optax.GradientTransformation(init, update))
