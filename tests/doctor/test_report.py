"""`jaxconv doctor`: its reference, what it finds, and that lost children are told."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support import oracle

from jaxconv import engine
from jaxconv.doctor import reference
from jaxconv.doctor import report as doctor
from jaxconv.doctor.cases import CASES, HALVES, LOOPS, Case, case, chosen
from jaxconv.doctor.trial import Finding, check, eligible

ABOUT = {
    "platform": "cpu",
    "device": "a device",
    "jax": "0",
    "jaxlib": "0",
    "python": "3",
    "native": "baseline",
    "memory": "huge pages",
}
SMALL = case("3x3, 2 groups", (2, 6, 5, 4), (3, 3, 2, 6), stride=2, padding=(1, 2), groups=2)
LARGER = case("2 pads (2,0)", (2, 9, 3), (2, 3, 4), padding=(2, 0))


def draw(rng):
    """A random window that fits, as a case."""
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    k, s, d = (tuple(map(int, rng.integers(1, 4, rank))) for _ in range(3))
    padding = tuple(map(tuple, rng.integers(0, 5, (rank, 2)).tolist()))
    n = tuple(int(e * (m - 1) + 1 + rng.integers(0, 4)) for m, e in zip(k, d, strict=True))
    x, kernel = (2, *n, 2 * groups), (*k, 2, 3 * groups)
    return case("random", x, kernel, stride=s, padding=padding, dilation=d, groups=groups).form


@pytest.mark.parametrize("number", range(20))
def test_the_reference_is_the_oracle(number):
    rng = np.random.default_rng(number)
    form = draw(rng)
    x, k, g = (rng.normal(size=getattr(form, slot)) for slot in "xky")
    window = {"stride": form.stride, "padding": form.padding, "dilation": form.dilation}
    got = reference.conv(x, k, g, form)
    dx, dk = oracle.conv_grads(x, k, g, groups=form.groups, **window)
    np.testing.assert_allclose(got["y"], oracle.conv(x, k, groups=form.groups, **window), atol=1e-10)
    np.testing.assert_allclose(got["x"], dx, atol=1e-10)
    np.testing.assert_allclose(got["k"], dk, atol=1e-10)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_pool_reference_is_the_oracle_in_ties(padding, rng):
    form = case("pool", (2, 7, 8, 3), (3, 3, 1, 3), stride=2, padding=padding, groups=3).form
    x, g = rng.integers(0, 3, form.x), rng.normal(size=form.y)
    got, window = reference.max_pool(x, g, form), {"stride": 2, "padding": padding}
    np.testing.assert_allclose(got["y"], oracle.max_pool(x, 3, **window))
    np.testing.assert_allclose(got["x"], oracle.max_pool_grad(x, g, 3, **window), atol=1e-12)


def test_the_table_holds_every_kind():
    names = [one.name for one in CASES]
    assert len(set(names)) == len(names)
    assert 60 <= len(names) <= 100
    assert max(map(len, names)) <= 36
    assert {*HALVES, *LOOPS} <= set(names)
    quick = [CASES[number] for number in chosen(quick=True)]
    assert len(quick) == -(-len(CASES) // 3)
    for some, sharded in ((CASES, {"sharded kernel", "sharded batch"}), (quick, {"sharded kernel"})):
        assert {one.kind for one in some} == {"conv", "max_pool", "resize", "dilated", "cropped", *sharded}
        assert {one.form.dtype for one in some} == {"float32", "bfloat16"}
        assert {one.form.rank for one in some} == {1, 2, 3}
        assert {one.steps for one in some} == {1, 3}


@pytest.mark.slow
def test_a_broken_formulation_is_found(monkeypatch):
    right = engine.FORMULATIONS["dots"]
    monkeypatch.setitem(engine.FORMULATIONS, "dots", lambda a, b, form: right(a, b, form) + 1e-2)
    report = doctor.Report(ABOUT, [])
    for one in (SMALL, LARGER):
        findings, results = check(one)
        report.findings += findings
        report.results += results
        wrong = {finding.slot for finding in findings if finding.who == "dots"}
        assert wrong == {"x", "k", "y"}
        assert all(1e-4 < finding.error < 1 for finding in findings if finding.who == "dots")
        assert {finding.who for finding in findings} <= {"dots", "auto", "XLA"}
    assert report.exit_code == 1
    assert any(line.startswith("2d 3x3, 2 groups ") and " jaxconv by dots " in line for line in doctor.lines(report))


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_broken():
    findings, results = check(SMALL)
    assert findings == []
    assert results >= 3 * 6


def test_plain_xla_and_what_is_never_chosen_are_not_blamed():
    assert "dots" in eligible("cpu")
    assert "einsum" not in eligible("cpu")
    some = [Finding("a", "XLA", "x", 5e29), Finding("b", "einsum", "y", 1.0)]
    assert doctor.Report(ABOUT, some).exit_code == 0
    assert doctor.Report(ABOUT, [*some, Finding("b", "auto", "y", 1.0)]).exit_code == 1


def test_the_worst_comes_first_within_80_columns():
    widest = max((one.name for one in CASES), key=len)
    findings = [
        Finding("1d 3", "XLA", "x", 0.5),
        Finding(widest, "canonical", "k", float("inf")),
        Finding(widest, "auto", "", float("inf"), "was ended by signal 11: " + "why " * 90),
        Finding("1d 3", "einsum", "k", 1.0),
    ]
    text = list(doctor.lines(doctor.Report(ABOUT, findings, results=1234, cases=2, seconds=3.2)))
    assert max(map(len, text)) <= 80
    rows = text[text.index("") + 1 :]
    assert rows[0].split() == ["case", "who", "slot", "error"]
    assert rows[1].endswith(" k    not finite")
    assert rows[2].endswith("no result")
    assert rows[3].startswith("  was ended by signal 11: why why")
    assert rows[4].startswith("  why")
    assert rows[5] == f"{'1d 3':<36} {'einsum, not chosen here':<26} k    1.0e+00"
    assert rows[6] == f"{'1d 3':<36} {'XLA, not used by jaxconv':<26} x    5.0e-01"
    assert rows[-1] == "2 cases, 1,234 results, 3 s: jaxconv WRONG in 1, plain XLA wrong in 1"


def test_a_long_line_about_the_device_is_wrapped():
    reason = "not available: compiled with the headers of another jaxlib; run python -m jaxconv.engine.native"
    text = list(doctor.lines(doctor.Report(ABOUT | {"native": reason}, [])))
    first, last = (text.index(next(line for line in text if line.startswith(name))) for name in ("native", "memory"))
    assert " ".join(line[9:] for line in text[first:last]) == reason
    assert max(map(len, text)) <= 80


def child(on_item):
    """A command that answers like a child, and for each item first does what `on_item` says."""
    script = f"""
import json, os, sys, time
print(json.dumps({ABOUT!r}), flush=True)
for item in sys.argv[1:]:
    {on_item}
    print(json.dumps({{"findings": [], "results": 3}}), flush=True)
"""
    return [sys.executable, "-c", script]


def test_a_child_that_crashes_is_told_and_the_rest_goes_on():
    told = []
    command = child("if item in ('2', '2:dots'): print('boom', file=sys.stderr); os._exit(3)")
    report = doctor.collect(["1", "2", "3"], command, progress=lambda: told.append(1))
    assert report.findings == [Finding(CASES[2].name, "dots", "", float("inf"), "ended with code 3: boom")]
    assert report.results == 3 * (2 + len(engine.FORMULATIONS) + 1)
    assert len(told) == 3
    assert report.exit_code == 1


@pytest.mark.slow
def test_a_child_that_hangs_is_told():
    report = doctor.collect(["4", "5"], child("if item in ('4', '4:XLA'): time.sleep(60)"), limit_seconds=1)
    assert report.findings == [Finding(CASES[4].name, "XLA", "", float("inf"), "gave no answer within 1 s")]
    assert report.exit_code == 0


def test_a_crash_that_nobody_repeats_alone_is_blamed_on_all():
    report = doctor.collect(["0"], child("if item == '0': os.kill(os.getpid(), 9)"))
    assert report.findings == [Finding(CASES[0].name, doctor.TOGETHER, "", float("inf"), "was ended by signal 9")]
    assert report.exit_code == 1


def test_a_device_that_does_not_start():
    command = [sys.executable, "-c", "raise SystemExit('no such device')"]
    with pytest.raises(doctor.ConfigError) as error:
        doctor.collect(["0"], command)
    assert str(error.value) == (
        "jax must start on this device\n  got: a process that ended with code 1: no such device\n"
        "  fix: JAX_PLATFORMS=cpu jaxconv doctor"
    )


def test_a_child_answers_in_lines_of_json(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CASES", (LARGER, Case("impossible", LARGER.form, kind="none")))
    doctor.serve(["0:dots", "1"])
    about, first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert about.keys() == ABOUT.keys()
    assert first == {"findings": [], "results": 3}
    assert second == {"failed": "KeyError: 'none'"}


@pytest.mark.slow
def test_the_command_finds_nothing_wrong_in_jaxconv():
    command = [sys.executable, "-m", "jaxconv", "doctor", "--quick"]
    process = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (process.returncode, process.stderr) == (0, ""), process.stdout
    assert max(map(len, process.stdout.splitlines())) <= 80
    assert "jaxconv right in all" in process.stdout.splitlines()[-1]
