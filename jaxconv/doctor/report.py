"""`jaxconv doctor`: test convolutions on this device and these versions against NumPy in f64.

The cases run in child processes, which may crash or hang. A child takes items, "12" for case 12 or "12:dots" for one
formulation of it; it writes a line of JSON about the device, then one for each item, in order.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from jaxconv._base.errors import ConfigError, count
from jaxconv._base.limits import cpu_cores
from jaxconv.doctor.cases import CASES, chosen
from jaxconv.doctor.trial import AUTO, XLA, Finding, check, eligible, everyone

CHILD = (sys.executable, "-m", "jaxconv.doctor.report")
LIMIT_SECONDS = 60.0
TOGETHER = "all in one program"
RIGHT, WRONG = 0, 1


@dataclasses.dataclass
class Report:
    """Result of all cases.

    Attributes:
      about: device and versions, by name.
      findings: wrong or missing results.
      results: number of arrays compared.
      cases: number of cases run.
      seconds: run time.
    """

    about: dict[str, str]
    findings: list[Finding]
    results: int = 0
    cases: int = 0
    seconds: float = 0.0

    def blames(self, finding: Finding) -> bool:
        """Whether a finding concerns an implementation that jaxconv may use on this platform."""
        return finding.who in (AUTO, TOGETHER, *eligible(self.about["platform"]))

    @property
    def exit_code(self) -> int:
        """0 if jaxconv is correct, whatever plain XLA does; 1 if it is not."""
        return WRONG if any(map(self.blames, self.findings)) else RIGHT


def main(quick: bool = False) -> int:
    """Run all cases, print the disagreements, and return the exit code."""
    terminal = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if terminal:
            end = "" if done < total else "\r\x1b[K"
            print(f"\r{done} of {total} cases{end}", end="", file=sys.stderr, flush=True)

    report = examine(quick, progress)
    print(*lines(report), sep="\n")
    return report.exit_code


def examine(quick: bool = False, progress: Callable[[int, int], None] = lambda done, total: None) -> Report:
    """Run all cases, or a third, in two child processes; `progress(done, total)` is called after each case."""
    start, cases = time.monotonic(), chosen(quick)
    lock, done, stopped = threading.Lock(), [0], threading.Event()

    def one_more() -> None:
        if stopped.is_set():
            raise InterruptedError
        with lock:
            done[0] += 1
            progress(done[0], len(cases))

    workers = min(2, cpu_cores())
    parts = [list(map(str, cases[first::workers])) for first in range(workers)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            reports = list(pool.map(lambda part: collect(part, progress=one_more), parts))
        except BaseException:  # Ctrl-C: the pool waits for its threads, which end at their next case
            stopped.set()
            raise
    findings = [finding for report in reports for finding in report.findings]
    seconds = time.monotonic() - start
    return Report(reports[0].about, findings, sum(report.results for report in reports), len(cases), seconds)


# ---------------------------------------------------------------- child processes


class _LostError(Exception):
    """A child crashed or hung; says how."""


def collect(
    items: Sequence[str],
    command: Sequence[str] = CHILD,
    limit_seconds: float = LIMIT_SECONDS,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Run items in child processes, one child after the other.

    If a child is lost, a new one continues, and the implementations of that case are then run one by one.

    Args:
      items: indices of cases.
      command: command line of a child; the items follow as arguments.
      limit_seconds: time without output after which a child counts as hung.
      progress: called after each case.

    Raises:
      ConfigError: if a child ends without output.
    """
    report, unexplained = Report({}, []), dict[str, str]()
    waiting, again = deque(items), list[str]()
    while waiting:
        with _child(command, waiting) as read:
            report.about = _first(read, limit_seconds)
            lost = False
            while waiting and not lost:
                try:
                    row = read(limit_seconds)
                except _LostError as error:
                    row, lost = {"failed": str(error)}, True
                item = waiting.popleft()
                if not _enter(report, item, row):
                    unexplained[_name(item)] = row["failed"]
                    again += (f"{item}:{who}" for who in everyone())
                if ":" not in item:
                    progress()
        if not waiting:
            waiting, again = deque(again), []
    for case in unexplained.keys() - {finding.case for finding in report.findings if finding.reason}:
        report.findings.append(Finding(case, TOGETHER, "", float("inf"), unexplained[case]))
    return report


def _first(read: Callable[[float], dict[str, Any]], limit_seconds: float) -> dict[str, str]:
    try:
        return read(limit_seconds)
    except _LostError as lost:
        fix = "JAX_PLATFORMS=cpu jaxconv doctor"
        raise ConfigError(f"jax must start on this device\n  got: a process that {lost}\n  fix: {fix}") from None


def _enter(report: Report, item: str, row: dict[str, Any]) -> bool:
    """Record the output for an item; False if a complete case was lost, so that the implementation is unknown."""
    if "failed" not in row:
        report.findings += [Finding(*found) for found in row["findings"]]
        report.results += row["results"]
        return True
    who = item.partition(":")[2]
    if who:
        report.findings.append(Finding(_name(item), who, "", float("inf"), row["failed"]))
    return bool(who)


def _name(item: str) -> str:
    return CASES[int(item.partition(":")[0])].name


@contextlib.contextmanager
def _child(command: Sequence[str], items: Collection[str]) -> Iterator[Callable[[float], dict[str, Any]]]:
    """A running child; yields a function that waits a number of seconds for its next line."""
    rows: queue.Queue[str] = queue.Queue()
    here = os.pathsep.join(path for path in sys.path if path)
    environment = {"JAX_NUM_CPU_DEVICES": "4"} | os.environ  # for the cases that are sharded
    environment |= {"PYTHONPATH": here, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*command, *items], stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8", env=environment
        )

        def listen() -> None:
            assert process.stdout
            for row in process.stdout:
                rows.put(row)
            rows.put("")

        def read(limit_seconds: float) -> dict[str, Any]:
            try:
                row = rows.get(timeout=limit_seconds)
            except queue.Empty:
                raise _LostError(f"gave no answer within {limit_seconds:g} s") from None
            if row:
                return dict(json.loads(row))
            code = process.wait()
            errors.seek(0)
            said = [line for line in errors.read().splitlines() if line.strip()][-1:]
            raise _LostError(
                ": ".join([f"was ended by signal {-code}" if code < 0 else f"ended with code {code}", *said])
            )

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield read
        finally:
            process.kill()
            process.wait()
            listener.join()
            assert process.stdout
            process.stdout.close()


def serve(items: Sequence[str]) -> None:
    """Run as a child: write a line about the device, then one for each item."""
    print(json.dumps(_about()), flush=True)
    for item in items:
        number, _, who = item.partition(":")
        try:
            findings, results = check(CASES[int(number)], (who,) if who else ())
            row = {"findings": [dataclasses.astuple(finding) for finding in findings], "results": results}
        except Exception as error:  # any exception of a compiler is a finding
            row = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        print(json.dumps(row), flush=True)


def _about() -> dict[str, str]:
    import jax

    from jaxconv._base import memory
    from jaxconv._base.compat import jax_version, jaxlib_version
    from jaxconv.engine import native

    device = jax.devices()[0]
    return {
        "platform": jax.default_backend(),
        "device": f"{cpu_cores()} cores" if device.platform == "cpu" else device.device_kind,
        "jax": jax_version(),
        "jaxlib": jaxlib_version(),
        "python": platform.python_version(),
        "native": native.isa() if native.available() else f"not available: {native.reason()}",
        "memory": memory.described(),
    }


# ---------------------------------------------------------------- text

_ROW, _WIDTH = "{:<36} {:<26} {:<4} {}", 80


def lines(report: Report) -> Iterator[str]:
    """The report in lines of at most 80 characters: the device, disagreements (worst first), and a summary."""
    for name, text in report.about.items():
        yield from textwrap.wrap(f"{name:<9}{text}", _WIDTH, subsequent_indent=" " * 9)
    yield ""
    worst = sorted(report.findings, key=lambda finding: (-finding.error, finding.case))
    if worst:
        yield _ROW.format("case", "who", "slot", "error")
    for finding in worst:
        yield _ROW.format(finding.case, _who(finding, report), finding.slot, _size(finding)).rstrip()
        if finding.reason:
            yield from (f"  {part}" for part in textwrap.wrap(finding.reason, _WIDTH - 2)[:2])
    if worst:
        yield ""
    yield from _summary(report)


def _who(finding: Finding, report: Report) -> str:
    if finding.who == XLA:
        return "XLA, not used by jaxconv"
    if finding.who in (AUTO, TOGETHER):
        return {AUTO: "jaxconv", TOGETHER: TOGETHER}[finding.who]
    return f"jaxconv by {finding.who}" if report.blames(finding) else f"{finding.who}, not chosen here"


def _size(finding: Finding) -> str:
    if finding.reason:
        return "no result"
    return "not finite" if finding.error == float("inf") else f"{finding.error:.1e}"


def _summary(report: Report) -> Iterator[str]:
    mine = {finding.case for finding in report.findings if report.blames(finding)}
    plain = {finding.case for finding in report.findings if finding.who == XLA}
    tried = f"{count(report.cases, 'case')}, {report.results:,} results, {report.seconds:.0f} s"
    yield f"{tried}: jaxconv {f'WRONG in {len(mine)}' if mine else 'right in all'}, plain XLA wrong in {len(plain)}"


if __name__ == "__main__":
    serve(sys.argv[1:])
