"""A pytree in one safetensors file, or a row of them as a run goes on, each leaf under the path that leads to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.errors import ConfigError, DataError
from jaxconv.files import write_atomically
from jaxconv.paths import leaf_names

__all__ = ["Checkpoints", "load", "read_tensors", "save"]


def save(path: str | Path, tree: Any) -> None:
    """Write every leaf of a tree; the file appears whole or not at all.

    Args:
      path: the file to write or replace.
      tree: a pytree of arrays.

    Raises:
      ConfigError: two leaves have the same name.
    """
    from safetensors.numpy import save as to_bytes

    names, leaves = leaf_names(tree), jax.device_get(jax.tree.leaves(tree))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"leaves must have different names; more than one is called {', '.join(twice)}")
    # safetensors stores memory as it lies: row-major is made sure of. ascontiguousarray would turn
    # a scalar into a vector.
    content = to_bytes({name: np.asarray(leaf, order="C") for name, leaf in zip(names, leaves, strict=True)})
    write_atomically(path, content)


def load(path: str | Path, like: Any) -> Any:
    """Read a tree that `save` wrote.

    Args:
      path: the file.
      like: a tree of arrays or `jax.ShapeDtypeStruct`s that says what must be there:
        `jax.eval_shape(net.init, key, x)` makes one without computing anything.

    Returns:
      A tree of the structure of `like`, with the file's values.

    Raises:
      DataError: the file is missing, truncated or no safetensors file.
      ConfigError: its names, shapes or types are not those of `like`; lists both trees and
        marks every difference.

    >>> import tempfile, pathlib
    >>> import jax.numpy as jnp
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tree.safetensors"
    >>> save(file, {"a": jnp.arange(3), "b": {}})
    >>> load(file, {"a": jax.ShapeDtypeStruct([3], jnp.int32), "b": {}})
    {'a': Array([0, 1, 2], dtype=int32), 'b': {}}
    """
    return _fitted(path, like, read_tensors(path))


def read_tensors(path: str | Path) -> dict[str, jax.Array]:
    """The arrays of a safetensors file by name, whatever wrote it.

    Raises:
      DataError: the file is missing, truncated or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.flax import load_file  # the reader for NumPy knows no bfloat16; this one makes plain jax arrays

    try:
        with jax.ensure_compile_time_eval():
            return load_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        size = Path(path).stat().st_size
        raise DataError(
            f"{path} is truncated, altered or no safetensors file: {error}; it has {size:,} bytes\n"
            "  fix: get the file again"
        ) from error


class Checkpoints:
    """The saved states of one run, by Orbax: written beside the training, whole or not at all.

    Args:
      folder: made if missing.
      keep: how many of the latest are kept; the one with the highest score is kept beside them.

    >>> import tempfile
    >>> import jax.numpy as jnp
    >>> with Checkpoints(tempfile.mkdtemp()) as kept:
    ...     kept.save(10, {"w": jnp.arange(2.0)}, {"seconds": 1.5})
    >>> with Checkpoints(kept.folder) as kept:
    ...     kept.restore({"w": jax.ShapeDtypeStruct([2], jnp.float32)})
    (10, {'w': Array([0., 1.], dtype=float32)}, {'seconds': 1.5})
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        import orbax.checkpoint as orbax
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

        self.folder = Path(folder).absolute()
        best = BestN(get_metric_fn=lambda found: found["score"], n=1, keep_checkpoints_without_metrics=False)
        options = orbax.CheckpointManagerOptions(preservation_policy=AnyPreservationPolicy([LatestN(keep), best]))
        self._args, self._manager = orbax.args, orbax.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """The steps that states are kept of, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, tree: Any, notes: dict[str, Any], score: float | None = None) -> None:
        """Write a state; returns once it is copied, and writing goes on meanwhile.

        Args:
          step: its number; one that is there already is left as it is.
          tree: a pytree of arrays; keys of `jax.random` may be among them.
          notes: what JSON can write.
          score: higher is better; None where nothing was measured.
        """
        if step in self._manager.all_steps():
            return
        # A copy of our own: the device may use the memory again while Orbax still writes it.
        leaves = [np.array(_plain(leaf)) for leaf in jax.tree.leaves(tree)]
        flat = {_escape(name): leaf for name, leaf in zip(leaf_names(tree), leaves, strict=True)}
        items = self._args.Composite(state=self._args.StandardSave(flat), notes=self._args.JsonSave(notes))
        self._manager.save(step, args=items, metrics=None if score is None else {"score": score})

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Read the latest state.

        Args:
          like: a tree of arrays or `jax.ShapeDtypeStruct`s that says what must be there.

        Returns:
          Its step, the tree and the notes; None where no state was kept yet.

        Raises:
          ConfigError: names, shapes or types are not those of `like`; both trees, with a mark before
            each difference.
          DataError: a file of it is missing or damaged.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        path = self.folder / str(step)
        try:
            items = self._args.Composite(state=self._args.StandardRestore(), notes=self._args.JsonRestore())
            found = self._manager.restore(step, args=items)
        except Exception as error:  # whatever Orbax, TensorStore or JSON say of a file that was altered
            raise DataError(
                f"{path} is damaged: {type(error).__name__}: {str(error).splitlines()[0]}\n"
                f"  fix: delete {path}, and the run goes on from the state before it"
            ) from error
        plain = jax.tree.map(lambda leaf: jax.eval_shape(_plain, leaf), like)
        flat = {name.replace(_SLASH, "/"): jnp.asarray(leaf) for name, leaf in found.state.items()}
        tree = _fitted(path, plain, flat)
        return step, jax.tree.map(_typed, like, tree), found.notes


# Orbax would make a folder of each part of a name.
_SLASH = "|"


def _escape(name: str) -> str:
    return name.replace("/", _SLASH)


def _plain(leaf: Any) -> Any:
    """A key of `jax.random` as its numbers; anything else as it is."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _typed(like: Any, leaf: Any) -> Any:
    return jax.random.wrap_key_data(leaf) if jnp.issubdtype(like.dtype, jax.dtypes.prng_key) else leaf


def _fitted(path: str | Path, like: Any, found: dict[str, Any]) -> Any:
    """What was read, as a tree of the structure of `like`.

    Raises:
      ConfigError: names, shapes or types differ.
    """
    leaves, structure = jax.tree.flatten(like)
    names = leaf_names(like)
    expected = {name: _describe(leaf) for name, leaf in zip(names, leaves, strict=True)}
    actual = {name: _describe(leaf) for name, leaf in found.items()}
    if expected != actual:
        raise ConfigError(_difference(path, expected, actual))
    return jax.tree.unflatten(structure, [found[name] for name in names])


def _describe(leaf: Any) -> str:
    return f"{list(leaf.shape)} {np.dtype(leaf.dtype).name}"


def _difference(path: str | Path, expected: dict[str, str], actual: dict[str, str]) -> str:
    """Both trees beside each other, each leaf once, with a mark before those that differ."""
    rows = []
    for name in sorted(expected.keys() | actual.keys()):
        here, there = expected.get(name), actual.get(name)
        if here == there:
            rows.append(f"    {name}  {here}")
        elif here is None:
            rows.append(f"  - {name}  {there}  only in the file")
        elif there is None:
            rows.append(f"  + {name}  {here}  only in this net")
        else:
            rows.append(f"  ! {name}  {there} in the file, {here} in this net")
    differ = sum(row[2] != " " for row in rows)
    head = f"{path} is a checkpoint of another net: {differ} of {len(rows)} leaves differ"
    return "\n".join([head, *rows])
