"""Any optimiser and schedule of optax by its own name, with its own arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from jaxconv.errors import ConfigError, did_you_mean, not_one_of
from jaxconv.layers import freeze as frozen
from jaxconv.layers import slow
from jaxconv.paths import fits, leaf_names, path_name

__all__ = [
    "argument_problems",
    "decayed",
    "in_steps",
    "optimizer",
    "optimizers",
    "peak_argument",
    "rate_schedule",
    "schedules",
]

# lbfgs is called with the loss itself; scale_by_* are pieces of optimisers and not whole ones.
_NOT_OPTIMIZERS = ("lbfgs", "scale_by_")
_DEPRECATED = "optimistic_adam"  # optax: use optimistic_adam_v2
# Those of optax.contrib that want more than gradients and parameters (the loss, a Hessian, noise's
# privacy budget), or that are tested at other parameters than they train.
_SPECIAL = ("momo", "sophia", "dpsgd", "schedule_free", "galore")
# These are made of other schedules, or of lists that TOML cannot write (integers as keys).
_NOT_SCHEDULES = ("join_", "scale_by_", "sgdr_", "piecewise_", "inject_")
_DURATIONS = ("decay_steps", "transition_steps")
_MASKS = ("mask", "weight_decay_mask")


def optimizer(
    name: str,
    learning_rate: float,
    steps: int,
    schedule: Mapping[str, Any] | None = None,
    *,
    decay: Sequence[str] = ("*kernel",),
    clip_norm: float | None = None,
    freeze: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    **args: Any,
) -> Any:
    """Make an optax optimiser.

    Args:
      name: a key of `optimizers()`, which are optax's own names.
      learning_rate: the rate, or with a schedule its peak.
      steps: how many steps the whole run has.
      schedule: `{"name": one of schedules(), …its own arguments}`, see `rate_schedule`.
      decay: patterns of the paths of those parts or parameters that `weight_decay` makes smaller, as
        "head/kernel"; * stands for anything. Without biases and norms by default.
      clip_norm: the largest norm of the whole gradient; a longer one is shortened to it.
      freeze: patterns of the paths of those parts or parameters that stay as they are.
      rates: {pattern: share}: parts that learn at a share of the rate.
      **args: the optimiser's own arguments; a second rate, as muon's `adam_learning_rate`, follows
        the schedule too. One without `weight_decay`, sgd for example, takes it
        all the same: as `weight_decay * parameter` added to the gradient.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ConfigError: there is no such optimiser, schedule or argument. When first used: no parameter
        has a path that a pattern of `decay` fits.

    >>> tx = optimizer("sgd", 0.1, steps=100, momentum=0.9)
    >>> tx = optimizer("adamw", 1e-3, steps=100, schedule={"name": "cosine_decay_schedule"}, clip_norm=1.0)
    """
    make = _pick("optim.name", name, optimizers())
    _refuse(argument_problems("optim", make, args, given_elsewhere=("learning_rate",), also=("weight_decay",)))
    rate: Any = learning_rate
    if schedule is not None:
        rest = dict(schedule)
        rate = rate_schedule(rest.pop("name", ""), learning_rate, steps, **rest)
        for key in [key for key in args if key.endswith("_learning_rate")]:
            args[key] = functools.partial(_in_step, rate=rate, share=args[key] / learning_rate)
    known = inspect.signature(make).parameters
    before = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    masks = {key: functools.partial(decayed, patterns=tuple(decay)) for key in _MASKS if key in known}
    if "weight_decay" in args and "weight_decay" not in known:
        mask = functools.partial(decayed, patterns=tuple(decay))
        before.append(optax.add_decayed_weights(args.pop("weight_decay"), mask))
    tx = optax.chain(*before, make(rate, **masks | args))
    tx = slow(tx, rates) if rates else tx
    return frozen(tx, *freeze) if freeze else tx


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


def in_steps(args: Mapping[str, Any], batch_size: int, images: int, steps: int) -> dict[str, Any]:
    """A schedule's durations as steps, where they were given as something else.

    Args:
      args: a schedule's arguments; one called `x_steps` may come as `x_epochs`, `x_examples` or
        `x_percent` (of the whole run).
      batch_size: images a step.
      images: in the training set.
      steps: how many steps the whole run has.

    >>> in_steps({"warmup_epochs": 2, "decay_percent": 50}, batch_size=100, images=1000, steps=400)
    {'warmup_steps': 20, 'decay_steps': 200}
    """
    in_each = {"epochs": images / batch_size, "examples": 1 / batch_size, "percent": steps / 100}

    def translated(key: str, value: Any) -> tuple[str, Any]:
        stem, _, unit = key.rpartition("_")
        return (f"{stem}_steps", round(value * in_each[unit])) if stem and unit in in_each else (key, value)

    return dict(translated(key, value) for key, value in args.items())


def rate_schedule(name: str, learning_rate: float, steps: int, **args: Any) -> Callable[[Any], Any]:
    """Make an optax schedule whose peak is the learning rate.

    Args:
      name: a key of `schedules()`, which are optax's own names.
      learning_rate: the peak: `peak_value`, or where there is none `init_value` or `value`.
      steps: how many steps the whole run has; what `decay_steps` and `transition_steps` are
        where they are not given.
      **args: the schedule's own arguments. Where they are required and not given,
        `warmup_steps` is a tenth of `steps`, and `init_value` beside a peak and `end_value` are 0.

    Returns:
      `step -> learning rate`.

    Raises:
      ConfigError: there is no such schedule or argument, or a required one is missing.

    >>> rate = rate_schedule("cosine_decay_schedule", 0.1, steps=100)
    >>> print(f"{rate(0):.2f} {rate(50):.2f} {rate(100):.2f}")
    0.10 0.05 0.00
    """
    make = _pick("optim.schedule.name", name, schedules())
    peak = peak_argument(make)
    _refuse(argument_problems("optim.schedule", make, args, given_elsewhere=(peak,)))
    defaults: dict[str, Any] = dict.fromkeys(_DURATIONS, steps)
    defaults |= {"warmup_steps": steps // 10, "init_value": 0.0, "end_value": 0.0, peak: learning_rate}
    required = [
        key for key, parameter in inspect.signature(make).parameters.items() if parameter.default is parameter.empty
    ]
    filled = {key: defaults[key] for key in required if key in defaults} | {peak: learning_rate} | args
    _refuse([f"optim.schedule.{key}: {name} needs it" for key in required if key not in filled])
    try:
        return make(**filled)
    except ValueError as error:
        raise ConfigError(f"optim.schedule: {name} cannot be made of {_brief(filled)}: {error}") from None


def _brief(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


def peak_argument(make: Callable[..., Any]) -> str:
    """Which argument of a schedule the learning rate is."""
    parameters = inspect.signature(make).parameters
    return next(key for key in ("peak_value", "init_value", "value") if key in parameters)


@functools.cache
def optimizers() -> dict[str, Callable[..., Any]]:
    """Every optax function that makes a whole optimiser from a learning rate, by name."""
    every = [*_functions(optax, _NOT_OPTIMIZERS), *_functions(optax.contrib, (*_NOT_OPTIMIZERS, *_SPECIAL))]
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


@functools.cache
def schedules() -> dict[str, Callable[..., Any]]:
    """Every optax function that makes a schedule from numbers, by name."""
    return {
        name: make
        for name, make in _functions(optax, _NOT_SCHEDULES)
        if name.endswith("_schedule") or name == "exponential_decay"
    }


def _functions(module: Any, excluded: tuple[str, ...]) -> list[tuple[str, Callable[..., Any]]]:
    return [
        (name, value)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith(("_", *excluded))
    ]


def argument_problems(
    path: str,
    make: Callable[..., Any],
    args: Mapping[str, Any],
    given_elsewhere: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
) -> list[str]:
    """Say what is wrong with arguments, by the signature of the function that they are for.

    Args:
      path: where they stand in the config, "optim" for example.
      make: the function.
      args: the arguments by name.
      given_elsewhere: parameters that `optim.learning_rate` sets.
      also: numbers that it takes beside those of its signature.

    Returns:
      One line for each argument that the function does not take, or whose kind (a number, true
      or false) is not that of the parameter's default.

    >>> import optax
    >>> argument_problems("optim", optax.sgd, {"momentun": 0.9}, ("learning_rate",))
    ["optim.momentun: sgd takes momentum, nesterov, accumulator_dtype; did you mean 'momentum'?"]
    """
    known = {
        key: parameter for key, parameter in inspect.signature(make).parameters.items() if key not in given_elsewhere
    }
    lines = []
    for key, value in args.items():
        if key in given_elsewhere:
            lines.append(f"{path}.{key}: is set by optim.learning_rate; leave it out here")
        elif key in also and key not in known:
            lines += [f"{path}.{key}: must be a number, got {value!r}"] if _wrong_kind(0.0, value) else []
        elif key not in known:
            every = [*known, *(name for name in also if name not in known)]
            takes = f"takes {', '.join(every)}" if every else "takes no arguments"
            lines.append(f"{path}.{key}: {make.__name__} {takes}{did_you_mean(key, [*every, *given_elsewhere])}")
        elif wanted := _wrong_kind(known[key].default, value):
            lines.append(f"{path}.{key}: must be {wanted}, got {value!r}")
    return lines


def _wrong_kind(default: Any, value: Any) -> str | None:
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    # A parameter without a default, or with a number for one, is a number throughout optax.
    if default is inspect.Parameter.empty or isinstance(default, int | float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return None if fits else "a number"
    return None


def _pick(path: str, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if name in known:
        return known[name]
    raise ConfigError(not_one_of(path, name, known))


def _refuse(lines: list[str]) -> None:
    if lines:
        raise ConfigError("\n".join(lines))
