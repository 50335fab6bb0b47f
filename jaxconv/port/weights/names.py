"""Names of parameters in other libraries. Ours are torchvision's, so that source needs no table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv.port.weights.families import TABLES, family_of, renamed
from jaxconv.port.weights.leaves import Leaf

__all__ = ["Source", "name_leaves"]

Source = str | Mapping[str, str] | Callable[[str], str]


def dotted(keys: Iterable[str]) -> str:
    """Names of parts joined as in torch.

    >>> dotted(["layer1", "0", "conv1"])
    'layer1.0.conv1'
    """
    return ".".join(keys)


def name_leaves(leaves: Sequence[Leaf], source: Source, found: Iterable[str] | None = None) -> dict[str, str]:
    """The name of each parameter's tensor in another library.

    Args:
      leaves: of a net.
      source: "torchvision", "timm" or "transformers"; a function of a leaf's path ("layer1/0/conv1/kernel") to
        the whole name; or a mapping of paths, of leaves or of parts, or regular expressions that match one whole,
        to names: `{r"stage(\\d)": r"layer\\1", "head/kernel": "fc.weight"}`. A leaf's own path counts before its
        parts', a longer part before a shorter one, "" (the net itself) last; all others have torchvision's
        names.
      found: names of the available tensors; if none has the prefix that transformers gives models with a head, the
        prefix is left out.

    Returns:
      {path of the parameter: name}.

    Raises:
      ConfigError: if the source is unknown or has no table for this net, or if a key of the mapping fits no path.
    """
    own = {leaf.path: leaf.name for leaf in leaves}
    if callable(source):
        return {leaf.path: _text(leaf.path, source(leaf.path)) for leaf in leaves}
    if isinstance(source, Mapping):
        return own | _mapped(leaves, source)
    if source == "torchvision":
        return own
    if source not in TABLES:
        known = ["torchvision", *TABLES]
        raise ConfigError(
            f"source must be {', '.join(known)}, a mapping of our paths to their names, or a function; "
            f"got {source!r}{did_you_mean(source, known)}"
        )
    family = family_of(own.values())
    if family not in TABLES[source]:
        raise ConfigError(
            f"source {source!r} knows the names of {', '.join(TABLES[source])}; this net is "
            f"{f'a {family}' if family else 'none of them'}\n"
            f"  fix: a mapping of our paths to their names, {{{next(iter(own), 'fc/kernel')!r}: '…'}}"
        )
    theirs = renamed(own.values(), family, TABLES[source][family])
    prefix = f"{family}."
    bare = found is not None and not any(name.startswith(prefix) for name in found)
    return {path: theirs[name].removeprefix(prefix if bare else "") for path, name in own.items()}


def _text(path: str, name: object) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"source must give a name for every path; for {path!r} it gave {name!r}")
    return name


def _mapped(leaves: Sequence[Leaf], source: Mapping[str, str]) -> dict[str, str]:
    patterns, used, found = {key: _pattern(key) for key in source}, set(), {}
    for leaf in leaves:
        for length in range(len(leaf.keys), -1, -1):
            prefix, rest = "/".join(leaf.keys[:length]), leaf.keys[length:-1]
            key = next((key for key, pattern in patterns.items() if key == prefix or pattern.fullmatch(prefix)), None)
            if key is None:
                continue
            used.add(key)
            match = patterns[key].fullmatch(prefix)
            name = source[key] if match is None or key == prefix else match.expand(source[key]).replace("/", ".")
            found[leaf.path] = name if length == len(leaf.keys) else dotted([*filter(None, [name]), *rest, leaf.word])
            break
    if unused := [key for key in source if key not in used]:
        prefixes = dict.fromkeys("/".join(leaf.keys[:n]) for leaf in leaves for n in range(1, len(leaf.keys) + 1))
        raise ConfigError(
            "\n".join(
                ["every key of source must fit a path of this net"]
                + [f"  got: {key!r}{did_you_mean(key, prefixes)}" for key in unused]
                + [f"  fix: paths here: {', '.join(leaf.path for leaf in leaves[:8])}{', …' * (len(leaves) > 8)}"]
            )
        )
    return found


def _pattern(key: str) -> re.Pattern[str]:
    try:
        return re.compile(key)
    except re.error as error:
        raise ConfigError(f"a key of source must be a path or a regular expression; got {key!r}: {error}") from None
