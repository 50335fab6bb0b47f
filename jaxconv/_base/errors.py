"""Errors with three parts: the requirement, the value given, and the fix."""

import difflib
from collections.abc import Iterable
from typing import Any, Literal

Kind = Literal[
    "argument", "channels", "dtype", "empty", "inputs", "key", "layout", "padding", "params", "path", "rank", "shape",
    "sharding", "window",
]  # fmt: skip
"""Kinds of ShapeError, for programs; the messages are for people.

- argument: an argument is invalid by itself, the default.
- rank, shape, dtype, empty: an array has the wrong number of axes, shapes that do not agree, the wrong type, no cells.
- layout: an input looks channels-first.
- channels, inputs: the wrong number of channels of an image, or of inputs of a dense layer; `expected`, `found`.
- window: a window does not fit into its input; `axis`, `n`, `kernel_size`, `stride`, `padding`, `dilation`.
- padding: more padding than the input can fill, or a window of padding only.
- sharding: an axis is sharded over an explicit mesh that the operation needs whole, or arrays are sharded differently.
- params, key, path: parameters or state of another net, an invalid random key, a part that does not exist.
"""


class ShapeError(ValueError):
    """An array is incompatible with an operation, or an argument that determines a shape is invalid.

    Args:
      must: the requirement, in one sentence.
      got: the value given.
      fix: code that meets the requirement.
      kind: the kind of requirement, for programs that react to it.
      numbers: the numbers of the message by name, those that `Kind` lists.

    `path` names the layer inside a network; `compose` fills it in from the inside out.

    >>> error = ShapeError("stride must be ≥ 1", got="stride=0", fix="stride=1 visits every position", stride=0)
    >>> print(error)
    stride must be ≥ 1
      got: stride=0
      fix: stride=1 visits every position
    >>> error.kind, error.numbers
    ('argument', {'stride': 0})
    """

    def __init__(self, must: str, *, got: str = "", fix: str = "", kind: Kind = "argument", **numbers: Any):
        super().__init__(must, got, fix)
        self.must: str = must
        self.got: str = got
        self.fix: str = fix
        self.kind: Kind = kind
        self.numbers: dict[str, Any] = numbers
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"at {'/'.join(self.path)}: {self.must}" if self.path else self.must]
        lines += [f"  {word}: {text}" for word, text in (("got", self.got), ("fix", self.fix)) if text]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.args, vars(self))


def _unpickled(kind: type[ShapeError], args: tuple[str, str, str], fields: dict[str, Any]) -> ShapeError:
    """A pickled or copied error with all its fields; `BaseException` would call it with positional arguments alone."""
    error = kind(args[0], got=args[1], fix=args[2])
    vars(error).update(fields)
    return error


class ConfigError(ValueError):
    """A config file, a run or a command requests something missing or invalid."""


class DataError(ValueError):
    """A data file is missing, truncated or altered."""


for _error in (ShapeError, ConfigError, DataError):
    _error.__module__ = "jaxconv"  # tracebacks show the public name


def count(n: int, word: str) -> str:
    """A number and its noun, in the singular or plural.

    >>> count(1, "channel"), count(3, "channel"), count(2, "axis")
    ('1 channel', '3 channels', '2 axes')
    """
    many = word[:-2] + "es" if word.endswith("axis") else f"{word}es" if word.endswith("ss") else f"{word}s"
    return f"{n} {word if n == 1 else many}"


def either(*choices: str) -> str:
    """Alternatives in a sentence.

    >>> either("a", "b"), either("a", "b", "c")
    ('a or b', 'a, b, or c')
    """
    *first, last = choices
    return f"{', '.join(first)}{',' * (len(first) > 1)} or {last}" if first else last


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A suffix for a message: the nearest known word, or nothing.

    >>> did_you_mean("smae", ["valid", "same"])
    "; did you mean 'same'?"
    >>> did_you_mean("zzz", ["valid", "same"])
    ''
    """
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word, in lower case, that a misspelt one is likely to mean; None if there is none.

    >>> nearest("smae", ["valid", "same"])
    'same'
    """
    near = difflib.get_close_matches(str(word).lower(), {k.lower(): k for k in known}, n=1)
    return near[0] if near else None


def raise_problems(problems: Iterable[str]) -> None:
    """Raise a ConfigError with one line for each problem, if there are any.

    >>> raise_problems([])
    >>> raise_problems(["net.a: must be given", "net.b: must be given"])
    Traceback (most recent call last):
    jaxconv.ConfigError: net.a: must be given
    net.b: must be given
    """
    if lines := list(problems):
        raise ConfigError("\n".join(lines))


def no_argument(section: str, name: str, key: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """The message for an unknown argument in a config.

    Args:
      section: section of the config, "net" for example.
      name: name of the function.
      key: name of the argument.
      known: arguments that the function takes there.
      elsewhere: arguments that belong in another section; they are suggested, too.

    >>> no_argument("net", "tiny", "siez", ["classes", "size"])
    "net.siez: tiny takes classes, size; did you mean 'size'?"
    """
    known = list(known)
    takes = ", ".join(known) or "no arguments"
    return f"{section}.{key}: {name} takes {takes}{did_you_mean(key, [*known, *elsewhere])}"


def not_one_of(path: str, name: str, known: Iterable[str], also: str = "") -> str:
    """The message for an unknown name in a config.

    Args:
      path: key of the config, "optim.name" for example.
      name: the unknown name.
      known: the known names.
      also: anything else that is accepted.

    >>> not_one_of("optim.name", "sdg", ["adam", "sgd"])
    "optim.name: must be one of adam, sgd; got 'sdg'; did you mean 'sgd'?"
    """
    known = list(known)
    return f"{path}: must be one of {', '.join(known)}{also}; got {name!r}{did_you_mean(name, known)}"
