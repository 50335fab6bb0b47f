"""Collectives of a compiled program: which they are, among how many devices, and the bytes that each device sends."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

__all__ = ["Collective", "collectives", "names"]

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_COMPUTATION = re.compile(r"^(ENTRY )?%?(\S+) \(.*\{$")
_CALL = re.compile(rf"(?P<name>[\w.\-]+) = (?P<types>\(.*?\)|\S+) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\w*\[([\d,]*)\]")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_PARTITIONS = re.compile(r"num_partitions=(\d+)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """Collectives of one kind in a step.

    Args:
      kind: XLA's name, "all-reduce".
      phase: "forward" or "backward" pass, or "other": the optimizer, metrics and what the partitioner adds.
      devices: number of devices among which each takes place.
      calls: how many there are; each may send several arrays.
      size: bytes of the arrays: of results, before a reduce-scatter of operands.
      sent: bytes that each device sends, if they are sent around a ring.
    """

    kind: str
    phase: str
    devices: int
    calls: int
    size: int
    sent: float


def collectives(text: str) -> list[Collective]:
    """The collectives of a program, the largest first. A loop of unknown length counts as one step of it.

    Args:
      text: of a compiled program, `compiled.as_text()`.

    >>> program = '''HloModule jit_f, num_partitions=8
    ... ENTRY %main (x: f32[4,2]) -> f32[4,2] {
    ...   ROOT %psum = f32[4,2]{1,0} all-reduce(%x), replica_groups=[2,4]<=[8], to_apply=%add
    ... }'''
    >>> collectives(program)
    [Collective(kind='all-reduce', phase='other', devices=4, calls=1, size=32, sent=48.0)]
    """
    everywhere = int(match[1]) if (match := _PARTITIONS.search(text)) else 1
    entry, lines = _computations(text)
    times = Counter[str]()

    def count(name: str, factor: int) -> None:
        times[name] += factor
        for line in lines[name]:
            trips = int(match[1]) if (match := _TRIPS.search(line)) else 1
            for called in _called(line):
                if called in lines:
                    count(called, factor * trips)

    count(entry, 1)
    found = defaultdict[tuple[str, str, int], list[tuple[int, int]]](list)
    for name, factor in times.items():
        for line in lines[name]:
            if match := _CALL.search(line):
                devices = _devices(line, everywhere)
                sizes = _sizes(match, devices)
                found[match["kind"], _phase(line), devices].append((factor, factor * sum(sizes)))
    rows = []
    for (kind, phase, devices), pairs in found.items():
        calls, size = map(sum, zip(*pairs, strict=True))
        rows.append(Collective(kind, phase, devices, calls, size, _sent(kind, devices) * size))
    return sorted(rows, key=lambda row: -row.sent)


def names(text: str) -> set[str]:
    """Names of the collectives of a program, as in a profile of it.

    Args:
      text: of a compiled program.
    """
    return {match["name"] for match in _CALL.finditer(text)}


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the entry, and the lines of each computation that calls another or communicates."""
    entry, name, lines = "", "", dict[str, list[str]]()
    for line in text.splitlines():
        if not line.startswith(" ") and (match := _COMPUTATION.match(line)):
            name = match[2]
            entry = name if match[1] else entry
            lines[name] = []
        elif name and (_CALLED.search(line) or _CALL.search(line)):
            lines[name].append(line)
    return entry, lines


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        yield from [one] if one else [name.strip().lstrip("%") for name in several.split(",")]


def _sizes(call: re.Match[str], devices: int) -> list[int]:
    """Bytes of each array that a collective moves, from the type of its result."""
    types, kind, start = call["types"], call["kind"], call["start"]
    sizes = [
        math.prod(map(int, filter(None, shape.split(",")))) * _bits(dtype) // 8
        for dtype, shape in _ARRAY.findall(types)
    ]
    if start and kind == "all-gather":  # operands, then results
        sizes = sizes[len(sizes) // 2 :]
    if start and kind == "collective-permute":  # operand, result, contexts
        sizes = sizes[1:2]
    return [size * devices for size in sizes] if kind == "reduce-scatter" else sizes


def _bits(dtype: str) -> int:
    return 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))


def _devices(line: str, everywhere: int) -> int:
    """Number of devices in a group, in each of the ways to write groups."""
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(match[1])
    if match := re.search(r"replica_groups=mesh\[(.*?)\].*?\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", match[2]))
    return 2 if "source_target_pairs" in line else everywhere


def _phase(line: str) -> str:
    """Phase in which JAX's name of an operation says that it is."""
    name = match[1] if (match := _OP_NAME.search(line)) else ""
    return "backward" if "transpose(" in name else "forward" if "jvp(" in name else "other"


def _sent(kind: str, devices: int) -> float:
    """Bytes that each device sends around a ring, for each byte of the array."""
    if kind in ("collective-permute", "collective-broadcast"):
        return 1.0
    return (2 if kind == "all-reduce" else 1) * (devices - 1) / devices
