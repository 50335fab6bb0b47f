"""Model surgery: replace a part, truncate to a backbone, freeze or group batch statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv._base.paths import fits, leaf_names
from jaxconv._base.types import Params, State
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Layer, Part, lift
from jaxconv.layers.norm import in_groups


def replace(net: Layer, path: str, part: Part) -> Layer:
    """The net with one part replaced; `init` samples the same weights as before for all other parts.

    Args:
      net: a composite layer.
      path: path of the part, "head" or "stage1/conv0".
      part: the new layer or callable.

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


def backbone(net: Layer, upto: str) -> Layer:
    """The net up to and including one part, for feature extraction.

    Args:
      net: a net whose parts run in definition order.
      upto: path of the last part, "stage3" or "stage3/conv1".

    Returns:
      A Layer that returns the output of that part. Its `apply` takes the complete net's params and state, or those
      of its own `init` (the same weights), and returns the state in the structure that it was given.

    Raises:
      ShapeError: if the net has no part at that path.

    >>> import jax.numpy as jnp
    >>> from jaxconv.layers import chain
    >>> backbone(chain(a=jnp.sin, b=jnp.cos, c=jnp.tanh), upto="b")
    chain
      a: sin
      b: cos
    """
    cut = _cut(lift(net), check_path(upto), upto)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        y, new = cut.apply(_prune(params, cut), _prune(state, cut), x, key=key, train=train)
        return y, _merge(state, new)

    return Layer(cut.name, cut.init, apply, cut.parts, cut.flow, cut.rebuild)


def freeze_statistics(net: Part, *patterns: str) -> Layer:
    """The net whose frozen normalization layers use their running statistics in training, too, and keep them.

    `optim.freeze` holds parameters; a batch norm with frozen parameters would still normalize by the batch and update
    its running statistics. Dropout stays active.

    Args:
      net: a layer.
      patterns: of paths of parts, as in `optim.freeze`; patterns of parameters alone ("*/bias") change nothing.

    Returns:
      A Layer with the same params and state, for `make_step`.

    Source: FrozenBatchNorm2d of torchvision; Keras since 2.2 does the same for `trainable = False`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.layers import BatchNorm, chain
    >>> net = freeze_statistics(chain(stem=BatchNorm(), head=BatchNorm()), "stem")
    >>> params, state = net.init(jax.random.key(0), (1, 2))
    >>> _, new = net.apply(params, state, jnp.array([[1.0, 3.0], [3.0, 5.0]]), train=True)
    >>> {name: bool((part["mean"] != 0).any()) for name, part in new.items()}
    {'stem': False, 'head': True}
    """
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ShapeError(
            "freeze_statistics needs patterns", got=f"{patterns!r}", fix="freeze_statistics(net, 'stem', 'layer1')"
        )

    def freeze(layer: Layer, path: str) -> Layer:
        def apply(params: Any, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
            names = [path + name for name in leaf_names(state)]
            fixed = bool(names) and all(any(fits(name, pattern) for pattern in patterns) for name in names)
            return layer.apply(params, state, x, key=key, train=train and not fixed)

        return dataclasses.replace(layer, apply=apply)

    return with_layers(lift(net), freeze)


def ghost_batch_norm(net: Part, group: int) -> Layer:
    """The net whose batch norms take their statistics in training over groups of examples: `BatchNorm(group=group)`.

    Args:
      net: a layer with batch norms.
      group: number of consecutive examples in a group.

    Returns:
      A Layer with the same params and state.

    Raises:
      ShapeError: if the net has no batch norm, or group is invalid; in training, if `group` does not divide the batch.

    Source: Hoffer et al., Train Longer, Generalize Better, 2017.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.layers import BatchNorm, chain
    >>> net = ghost_batch_norm(chain(BatchNorm(), jnp.tanh), 2)
    >>> params, state = net.init(jax.random.key(0), (1, 1))
    >>> net.apply(params, state, jnp.array([[1.0], [1.0], [5.0], [5.0]]), train=True)[0].ravel()
    Array([0., 0., 0., 0.], dtype=float32)
    """
    net, group = lift(net), geometry.integer(group, "group")
    norms: list[str] = []

    def in_ghost(layer: Layer, path: str) -> Layer:
        if layer.name != "batch_norm":
            return layer
        norms.append(path)
        return in_groups(layer, group)

    ghost = with_layers(net, in_ghost)
    if not norms:
        raise ShapeError(
            "ghost_batch_norm needs a net with batch norms", got=f"{net.name} without", fix="leave the groups out"
        )
    return ghost


def batch_statistics(net: Part) -> Layer:
    """The net in inference, but that its batch norms normalize by the batch and return its statistics as their state.

    Args:
      net: a layer.

    Returns:
      A Layer with the same params and state, for `train=False`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.layers import BatchNorm, Dropout, chain
    >>> net = batch_statistics(chain(Dropout(0.5), norm=BatchNorm()))
    >>> params, state = net.init(jax.random.key(0), (1, 1))
    >>> net.apply(params, state, jnp.array([[1.0], [3.0]]))[1]["norm"]
    {'mean': Array([2.], dtype=float32), 'var': Array([1.], dtype=float32)}
    """

    def measured(layer: Layer, path: str) -> Layer:
        if layer.name != "batch_norm":
            return layer

        def apply(params: Any, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
            # new = momentum * old + (1 - momentum) * batch, which is the batch's weight for zeros and a batch of ones.
            zeros = jax.tree.map(jnp.zeros_like, state)
            weight = layer.apply(params, zeros, jnp.ones([x.shape[0], x.shape[-1]], x.dtype), train=True)[1]["mean"]
            y, new = layer.apply(params, zeros, x, train=True)
            return y, jax.tree.map(lambda v: v / weight, new)

        return dataclasses.replace(layer, apply=apply)

    return with_layers(lift(net), measured)


def with_layers(net: Layer, change: Callable[[Layer, str], Layer]) -> Layer:
    """The net with `change(layer, path)` in place of each layer without parts; its init is the net's.

    A path ends with a slash, but for that of a net without parts, which is empty.
    """

    def changed(layer: Layer, path: str) -> Layer:
        if layer.rebuild is None:
            return change(layer, path)
        return layer.rebuild({name: changed(part, f"{path}{name}/") for name, part in layer.parts.items()})

    return dataclasses.replace(changed(net, ""), init=net.init)  # also pretrained weights


class _Reached(Exception):
    """Carries the output of the last part out of the flow of one cut; a net that is cut twice has two."""

    def __init__(self, y: Any, cut: Callable[..., Any]):
        self.y, self.cut = y, cut


def _cut(net: Layer, upto: str, whole: str) -> Layer:
    name, slash, rest = upto.partition("/")
    last, flow = _part(net, name, whole), net.flow
    if flow is None:
        raise ShapeError(
            "backbone needs a net made by compose, chain, residual or branch", got=f"{net.name} in {whole!r}"
        )
    names = list(net.parts)
    parts = {n: net.parts[n] for n in names[: names.index(name)]}
    parts[name] = _cut(last, rest, whole) if slash else last

    def shorter(call: Any, x: Any) -> Any:
        def watched(part: str, *args: Any, **kwargs: Any) -> Any:
            if part in net.parts and part not in parts:
                raise ShapeError(
                    "backbone needs parts that run in definition order", got=f"{part!r} runs before {name!r}"
                )
            y = call(part, *args, **kwargs)
            if part == name:
                raise _Reached(y, shorter)
            return y

        try:
            flow(watched, x)
        except _Reached as end:
            if end.cut is not shorter:
                raise
            return end.y
        raise ShapeError("backbone needs a flow that calls the part", got=f"{name!r} is never called")

    return compose(net.name, parts, shorter)


def check_path(path: Any) -> str:
    """`path` if it is a string; raises ShapeError otherwise."""
    if not isinstance(path, str):
        raise ShapeError("a path must be text like 'stage1/conv0'", got=f"{path!r}", kind="path")
    return path


def find_part(net: Layer, path: str) -> Layer:
    """The part of a net at a path; raises ShapeError if there is none."""
    for name in path.split("/"):
        net = _part(net, name, path)
    return net


def _part(net: Layer, name: str, path: str) -> Layer:
    if name not in net.parts:
        known = ", ".join(net.parts) or "no parts"
        raise ShapeError(f"{net.name} has {known}", got=f"path {path!r}{did_you_mean(name, net.parts)}", kind="path")
    return net.parts[name]


def _prune(tree: Any, layer: Layer) -> Any:
    if not layer.parts or not isinstance(tree, Mapping) or not layer.parts.keys() <= tree.keys():
        return tree
    return {name: _prune(tree[name], part) for name, part in layer.parts.items()}


def _merge(old: Any, new: Any) -> dict[str, Any]:
    return {n: _merge(v, new[n]) if isinstance(v, Mapping) and n in new else new.get(n, v) for n, v in old.items()}
