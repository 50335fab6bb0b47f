"""Optimizers: every optimizer of optax, by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import optax

from jaxconv._base.arguments import find
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ConfigError, ShapeError, raise_problems
from jaxconv._base.paths import fits, leaf_names, path_name
from jaxconv.training.optim.masks import freeze as frozen
from jaxconv.training.optim.masks import normalized, partition, scale_lr
from jaxconv.training.optim.names import MASKS, argument_problems, functions, traceable
from jaxconv.training.optim.rate import rate_schedule

__all__ = ["decayed", "optimizer", "optimizers", "with_path"]

_NOT_OPTIMIZERS = ("scale_by_",)  # building blocks
_DEPRECATED = "optimistic_adam"  # optax: use optimistic_adam_v2
# From optax.contrib: those that need a Hessian, the gradient of each image, or a projection of each kernel.
_SPECIAL = ("sophia", "dpsgd", "galore")


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
    normalize: Sequence[str] = (),
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    **args: Any,
) -> Any:
    """Make an optax optimizer.

    Args:
      name: a key of `optimizers()`, optax's name.
      learning_rate: the learning rate, or the peak of the schedule.
      steps: total steps of the run.
      schedule: `{"name": a key of schedules(), …its arguments}`, see `rate_schedule`.
      decay: path patterns of the parameters that weight decay applies to, such as "head/kernel"; * matches anything.
        Kernels alone by default.
      max_grad_norm: maximum global gradient norm, for clipping.
      freeze: path patterns of frozen parameters.
      lr_multipliers: {path pattern: learning-rate multiplier}.
      normalize: path patterns of kernels that are normalized before each update, see `normalized`.
      groups: {path pattern: `{"name": an optimizer, "learning_rate": …, "schedule": …, …its arguments}`} of other
        parameters. The first match is used. The schedule is `schedule` in proportion if a group has none; weight decay
        applies to all parameters of a group, and `decay` to those of no group.
      **args: the optimizer's other arguments. A second learning rate, such as muon's `adam_learning_rate`, follows the
        schedule, too. `weight_decay` is accepted for every optimizer: if it has no such argument (sgd),
        `weight_decay * parameter` is added to the gradient; if it has one but no mask (schedule_free_adamw), all
        parameters decay.

    Returns:
      An `optax.GradientTransformation`; of some (momo, lbfgs), `update` needs more arguments, which `make_step` gives.

    Raises:
      ConfigError: if there is no such optimizer, schedule or argument; when initialized, if a pattern matches no
        parameter.

    >>> tx = optimizer("sgd", 0.1, steps=100, momentum=0.9)
    >>> tx = optimizer("adamw", 1e-3, steps=100, schedule={"name": "cosine_decay_schedule"}, max_grad_norm=1.0)
    """
    rate = _rate(learning_rate, schedule, steps)
    tx = _named("optim", name, learning_rate, rate, functools.partial(decayed, patterns=tuple(decay)), args)
    if groups:
        parts: dict[Hashable, Any] = {"": tx}
        parts |= {p: _group(p, dict(group), rate, learning_rate, steps) for p, group in groups.items()}
        labels = functools.partial(partition, labels={pattern: pattern for pattern in groups}, default="")
        tx = with_path("optim.groups", optax.multi_transform(parts, labels))
    if max_grad_norm is not None:
        tx = optax.chain(optax.clip_by_global_norm(max_grad_norm), tx)
    tx = with_path("optim.lr_multipliers", scale_lr(tx, lr_multipliers)) if lr_multipliers else tx
    tx = with_path("optim.normalize", normalized(tx, *normalize)) if normalize else tx
    return with_path("optim.freeze", frozen(tx, *freeze)) if freeze else tx


def _rate(learning_rate: float, schedule: Mapping[str, Any] | None, steps: int) -> Any:
    """The learning rate: a number, or `step -> number`."""
    if schedule is None:
        return learning_rate
    rest = dict(schedule)
    return rate_schedule(rest.pop("name", ""), learning_rate, steps, **rest)


def _named(path: str, name: str, peak: float, rate: Any, mask: Any, args: Mapping[str, Any]) -> Any:
    """The optimizer of a name.

    Args:
      path: section of the config, for messages.
      name: a key of `optimizers()`.
      peak: the learning rate that a second one in `args` is in proportion to.
      rate: the learning rate, a number or a schedule.
      mask: `params -> tree of bools`, the parameters that weight decay applies to; None for all.
      args: the optimizer's other arguments.
    """
    make = find(f"{path}.name", name, optimizers(), custom=False)
    raise_problems(argument_problems(path, make, args, given_elsewhere=("learning_rate",), also=("weight_decay",)))
    args = traceable(args)
    if callable(rate):
        for key in [key for key in args if key.endswith("_learning_rate")]:
            args[key] = functools.partial(_in_step, rate=rate, share=args[key] / peak)
    known = inspect.signature(make).parameters
    masks = {key: mask for key in MASKS if key in known}
    decay = []
    if "weight_decay" in args and "weight_decay" not in known:
        decay.append(optax.add_decayed_weights(args.pop("weight_decay"), mask))
    return optax.chain(*decay, make(rate, **masks, **args))


def _group(pattern: str, group: dict[str, Any], rate: Any, peak: float, steps: int) -> Any:
    """The optimizer of a parameter group; `rate` and `peak` are those of all others."""
    name, learning_rate, schedule = group.pop("name"), group.pop("learning_rate"), group.pop("schedule", None)
    own = _rate(learning_rate, schedule, steps)
    if schedule is None and callable(rate):
        own = functools.partial(_in_step, rate=rate, share=learning_rate / peak)
    return _named(f"optim.groups.{pattern}", name, learning_rate, own, None, group)


def with_path(path: str, tx: Any) -> Any:
    """The same optimizer, whose ShapeErrors about patterns become ConfigErrors that name the config key."""

    def init(params: Any) -> Any:
        try:
            return tx.init(params)
        except ShapeError as error:
            raise ConfigError(f"{path}: {error}") from None

    return optax.GradientTransformationExtraArgs(init, optax.with_extra_args_support(tx).update)


def _in_step(count: Any, rate: Callable[[Any], Any], share: float) -> Any:
    """Learning rate of another parameter group, proportional to the schedule."""
    return share * rate(count)


def decayed(params: Any, patterns: Sequence[str]) -> Any:
    """Mask of the parameters that weight decay applies to: a tree of bools.

    Args:
      params: a tree of parameters.
      patterns: path patterns, such as "*kernel"; see `paths.fits`.

    Raises:
      ConfigError: if a pattern matches no path.

    >>> decayed({"conv0": {"kernel": 1, "bias": 2}}, ["*kernel"])
    {'conv0': {'bias': False, 'kernel': True}}
    """
    paths = leaf_names(params)
    for pattern in patterns:
        # The default pattern may match nothing; any other was written by the user.
        if pattern != "*kernel" and not any(fits(path, pattern) for path in paths):
            raise ConfigError(
                f"optim.decay: {pattern!r} must match the path of a parameter; there are {', '.join(paths)}"
            )
    chosen = [any(fits(path, pattern) for pattern in patterns) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), chosen)


@functools.cache
def optimizers() -> dict[str, Callable[..., Any]]:
    """All optax optimizers that take a learning rate, by name."""
    every = [*functions(optax, _NOT_OPTIMIZERS), *functions(optax.contrib, (*_NOT_OPTIMIZERS, *_SPECIAL))]
    found = {
        name: make
        for name, make in every
        if next(iter(inspect.signature(make).parameters), "") == "learning_rate" and name != _DEPRECATED
    }
    return found | {"muon": _muon}


@functools.wraps(optax.contrib.muon)
def _muon(learning_rate: Any, **args: Any) -> Any:
    """Muon (Jordan 2024) for kernels, reshaped to [receptive field, features]; Adam for `head` and the rest."""

    def dimensions(params: Any) -> Any:
        def of(path: Any, leaf: Any) -> Any:
            if leaf.ndim < 2 or "head" in path_name(path).split("/"):
                return None
            return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

        return jax.tree.map_with_path(of, params)

    return optax.contrib.muon(learning_rate, muon_weight_dimension_numbers=dimensions, **args)
