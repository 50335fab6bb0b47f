"""Any optimizer of optax by its own name, with its own arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.paths import fits, leaf_names, path_name
from jaxconv.training.optim.masks import freeze as frozen
from jaxconv.training.optim.masks import scale_lr
from jaxconv.training.optim.names import MASKS, argument_problems, functions, pick, refuse, traceable
from jaxconv.training.optim.rate import rate_schedule

__all__ = ["decayed", "optimizer", "optimizers"]

# lbfgs is called with the loss itself; scale_by_* are pieces of optimizers and not whole ones.
_NOT_OPTIMIZERS = ("lbfgs", "scale_by_")
_DEPRECATED = "optimistic_adam"  # optax: use optimistic_adam_v2
# Those of optax.contrib that want more than gradients and parameters (the loss, a Hessian, noise's
# privacy budget), or that are tested at other parameters than they train.
_SPECIAL = ("momo", "sophia", "dpsgd", "schedule_free", "galore")


@renamed_arguments(clip_norm="max_grad_norm", rates="lr_multipliers")
def optimizer(
    name: str,
    learning_rate: float,
    steps: int,
    schedule: Mapping[str, Any] | None = None,
    *,
    decay: Sequence[str] = ("*kernel",),
    max_grad_norm: float | None = None,
    freeze: Sequence[str] = (),
    lr_multipliers: Mapping[str, float] | None = None,
    **args: Any,
) -> Any:
    """Make an optax optimizer.

    Args:
      name: a key of `optimizers()`, which are optax's own names.
      learning_rate: the rate, or with a schedule its peak.
      steps: how many steps the whole run has.
      schedule: `{"name": one of schedules(), …its own arguments}`, see `rate_schedule`.
      decay: patterns of the paths of those parts or parameters that `weight_decay` makes smaller, as
        "head/kernel"; * stands for anything. Without biases and norms by default.
      max_grad_norm: maximum global gradient norm; a longer gradient is clipped to it.
      freeze: patterns of the paths of those parts or parameters that stay as they are.
      lr_multipliers: {path pattern: factor of the learning rate}.
      **args: the optimizer's own arguments; a second rate, as muon's `adam_learning_rate`, follows
        the schedule too. One without `weight_decay`, sgd for example, takes it
        all the same: as `weight_decay * parameter` added to the gradient.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ConfigError: there is no such optimizer, schedule or argument. When first used: no parameter
        has a path that a pattern of `decay`, `freeze` or `lr_multipliers` fits.

    >>> tx = optimizer("sgd", 0.1, steps=100, momentum=0.9)
    >>> tx = optimizer("adamw", 1e-3, steps=100, schedule={"name": "cosine_decay_schedule"}, max_grad_norm=1.0)
    """
    make = pick("optim.name", name, optimizers())
    refuse(argument_problems("optim", make, args, given_elsewhere=("learning_rate",), also=("weight_decay",)))
    args = traceable(args)
    rate: Any = learning_rate
    if schedule is not None:
        rest = dict(schedule)
        rate = rate_schedule(rest.pop("name", ""), learning_rate, steps, **rest)
        for key in [key for key in args if key.endswith("_learning_rate")]:
            args[key] = functools.partial(_in_step, rate=rate, share=args[key] / learning_rate)
    known = inspect.signature(make).parameters
    before = [] if max_grad_norm is None else [optax.clip_by_global_norm(max_grad_norm)]
    mask = functools.partial(decayed, patterns=tuple(decay))
    masks = {key: mask for key in MASKS if key in known}
    if "weight_decay" in args and "weight_decay" not in known:
        before.append(optax.add_decayed_weights(args.pop("weight_decay"), mask))
    tx = optax.chain(*before, make(rate, **masks, **args))
    tx = _blaming("optim.lr_multipliers", scale_lr(tx, lr_multipliers)) if lr_multipliers else tx
    return _blaming("optim.freeze", frozen(tx, *freeze)) if freeze else tx


def _blaming(path: str, tx: Any) -> Any:
    """The same; where its patterns do not fit the net, the error names the config's key."""

    def init(params: Any) -> Any:
        try:
            return tx.init(params)
        except ShapeError as error:
            raise ConfigError(f"{path}: {error}") from None

    return optax.GradientTransformationExtraArgs(init, tx.update)


def _in_step(count: Any, rate: Callable[[Any], Any], share: float) -> Any:
    """Another parameter group's rate, which goes up and down with the rest's."""
    return share * rate(count)


def decayed(params: Any, patterns: Sequence[str]) -> Any:
    """Which parameters are decayed: a tree of bools.

    Args:
      params: a tree of parameters.
      patterns: of paths, as "*kernel"; see `paths.fits`.

    Raises:
      ConfigError: a pattern fits no path.

    >>> decayed({"conv0": {"kernel": 1, "bias": 2}}, ["*kernel"])
    {'conv0': {'bias': False, 'kernel': True}}
    """
    paths = leaf_names(params)
    for pattern in patterns:
        # A net without any kernel has nothing to decay; any other pattern is one that somebody wrote.
        if pattern != "*kernel" and not any(fits(path, pattern) for path in paths):
            raise ConfigError(
                f"optim.decay: {pattern!r} must fit the path of a parameter; there are {', '.join(paths)}"
            )
    chosen = [any(fits(path, pattern) for pattern in patterns) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), chosen)


@functools.cache
def optimizers() -> dict[str, Callable[..., Any]]:
    """Every optax function that makes a whole optimizer from a learning rate, by name."""
    every = [*functions(optax, _NOT_OPTIMIZERS), *functions(optax.contrib, (*_NOT_OPTIMIZERS, *_SPECIAL))]
    found = {
        name: make
        for name, make in every
        if next(iter(inspect.signature(make).parameters), "") == "learning_rate" and name != _DEPRECATED
    }
    return found | {"muon": _muon}


@functools.wraps(optax.contrib.muon)
def _muon(learning_rate: Any, **args: Any) -> Any:
    """Muon (Jordan 2024) on every kernel as a matrix of receptive fields by features; Adam on `head` and the rest."""

    def dimensions(params: Any) -> Any:
        def of(path: Any, leaf: Any) -> Any:
            if leaf.ndim < 2 or "head" in path_name(path).split("/"):
                return None
            return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

        return jax.tree.map_with_path(of, params)

    return optax.contrib.muon(learning_rate, muon_weight_dimension_numbers=dimensions, **args)
