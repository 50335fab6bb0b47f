"""Autotuning: each form is measured once and cached, every choice is correct, and the command reports them."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.config_text import config_text
from typer.testing import CliRunner

import jaxconv as jc
from jaxconv._base.errors import DataError
from jaxconv.cli.commands import app
from jaxconv.engine import Form, check_impl, native, tune
from jaxconv.engine.dispatch import choose
from jaxconv.engine.rules import FORMULATIONS, RULES, Place

FORM = Form("y", (2, 6, 5, 4), (3, 3, 4, 8), (1, 1), ((1, 1), (1, 1)), (1, 1), impl="tune")
HERE = Place(jax.default_backend())
CONFIG = config_text(optim={"name": "adam", "learning_rate": 0.02}, train={"epochs": 1, "batch_size": 8})


@pytest.fixture(autouse=True)
def file(monkeypatch, tmp_path):
    """An empty cache for each test, in memory, too."""
    monkeypatch.setenv("JAXCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXCONV_IMPL", raising=False)
    tune.measurements.clear()
    tune._records.cache_clear()
    return tmp_path / "cache" / "tune.json"


@pytest.fixture
def measured(monkeypatch):
    """The measured forms; "dots" is always the fastest."""
    calls = []

    def measure(form, place):
        calls.append(form)
        return {"lax": 0.002, "dots": 0.001}

    monkeypatch.setattr(tune, "measure", measure)
    return calls


def test_a_form_is_measured_once(measured, file):
    assert [tune.fastest(FORM, HERE) for _ in range(3)] == ["dots"] * 3
    assert [form.impl for form in measured] == ["auto"]
    auto = FORM.open("y", impl="auto")
    assert tune.measurements == {(auto, HERE): tune.Measurement("dots", {"lax": 2.0, "dots": 1.0}, choose(auto, HERE))}
    assert json.loads(file.read_text()) == {tune.key(FORM, HERE): {"impl": "dots", "ms": {"lax": 2.0, "dots": 1.0}}}
    assert [path.name for path in file.parent.iterdir()] == ["tune.json"]


def test_another_process_reads_the_file(measured):
    tune.fastest(FORM, HERE)
    tune._records.cache_clear()
    assert tune.fastest(FORM.open("y", impl="auto"), HERE) == "dots"
    assert len(measured) == 1
    for other in (FORM.open("k"), FORM.open("y", groups=2, k=(3, 3, 2, 8)), FORM.open("y", dtype="bfloat16")):
        tune.fastest(other, HERE)
    assert len(measured) == 4


def test_records_of_other_processes_are_kept(measured, file):
    tune.fastest(FORM, HERE)
    theirs = {"another form": {"impl": "lax", "ms": {"lax": 1.0}}}
    file.write_text(json.dumps(theirs))
    tune.fastest(FORM.open("k"), HERE)
    assert set(json.loads(file.read_text())) == {"another form", tune.key(FORM.open("k"), HERE)}


def test_a_removed_formulation_is_measured_again(measured, file):
    file.parent.mkdir()
    file.write_text(json.dumps({tune.key(FORM, HERE): {"impl": "removed", "ms": {}}}))
    assert tune.fastest(FORM, HERE) == "dots"


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("{", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "a list"),
        ('{"a form": {"impl": 3}}', "{\"impl\": 3} for 'a form'"),
    ],
)
def test_a_damaged_file_is_reported(measured, file, text, got):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        tune.fastest(FORM, HERE)
    assert str(caught.value) == (
        f"{file} must contain measured formulations as JSON; got {got}\n"
        "  fix: delete it; convolutions are then measured again"
    )
    assert not measured


def test_a_folder_that_cannot_be_written_is_a_warning(measured, file):
    file.parent.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="NotADirectoryError"):
        tune.fastest(FORM, HERE)
    file.parent.unlink()
    tune._records(file)
    file.parent.write_text("made meanwhile")
    with pytest.warns(UserWarning, match="set JAXCONV_CACHE to a writable directory"):
        assert tune.fastest(FORM, HERE) == "dots"


def test_rules_apply_where_measurements_do_not(measured):
    auto = FORM.open("y", impl="auto")
    assert choose(FORM, HERE) == "dots"
    for place in (Place("cpu", one_device=False), Place("tpu")):
        assert choose(FORM, place) == choose(auto, place)
    assert len(measured) == 1


CASES = [
    Form(slot, (4, 5, 5, 8), (3, 3, 8 // groups, 8), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=groups, dtype=dtype)
    for slot in "xky"
    for groups in (1, 2, 8)
    for dtype in ("float32", "float64")
]


@pytest.mark.parametrize("platform", sorted(RULES))
def test_candidates_include_the_rules_choice_and_not_einsum(platform):
    place = Place(platform)
    for form in CASES:
        names = tune.candidates(form, place)
        assert choose(form, place) in names
        assert "einsum" not in names
        assert set(names) <= set(FORMULATIONS)
        assert ("native" in names) == (platform == "cpu" and native.available() and native.fits(form))
        assert ("shifted" in names) == (form.groups > 1)


def test_shifted_runs_only_few_channels_per_group():
    """One multiply-add per tap and channel in one loop: a dense form took minutes to compile."""
    dense = Form("y", (1, 8, 8, 64), (3, 3, 64, 64), (1, 1), ((1, 1), (1, 1)), (1, 1), impl="shifted")
    assert choose(dense, Place()) != "shifted"
    assert choose(dense.open("k", k=(3, 3, 32, 64), groups=2), Place()) != "shifted"
    assert choose(dense.open("y", k=(3, 3, 1, 64), groups=64), Place()) == "shifted"


@pytest.mark.skipif(not native.available(), reason="native kernels are not compiled")
def test_native_kernels_are_chosen_on_cpus_alone():
    form = Form("y", (8, 14, 14, 16), (5, 5, 16, 16), (1, 1), ((2, 2), (2, 2)), (1, 1))
    for slot in "yxk":
        assert choose(form.open(slot), Place()) == "native"
        assert choose(form.open(slot, dtype="float64"), Place()) == "dots"
        assert choose(form.open(slot), Place("gpu")) == "lax"
    assert choose(form, Place(one_device=False)) == "canonical"
    assert choose(form.open("k"), Place(one_device=False)) == "dots"


def test_formulations_that_raise_are_omitted(monkeypatch):
    def cannot(a, b, form):
        raise NotImplementedError

    monkeypatch.setitem(FORMULATIONS, "dots", cannot)
    times = tune.measure(FORM, HERE)
    assert set(times) == set(tune.candidates(FORM, HERE)) - {"dots"}
    assert all(0 < seconds < 10 for seconds in times.values())


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("groups", [1, 2])
def test_tuned_convolutions_and_gradients_are_right(rng, assert_close, file, groups):
    x = rng.standard_normal((2, 6, 5, 4)).astype(np.float32)
    k = rng.standard_normal((3, 3, 4 // groups, 8)).astype(np.float32)

    @functools.partial(jax.jit, static_argnums=2)
    def both(x, k, impl):
        def loss(x, k):
            y = jc.conv(x, k, stride=2, padding="same", groups=groups, impl=impl)
            return jnp.sum(jnp.sin(y)), y

        (_, y), (dx, dk) = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, k)
        return {"result": y, "input gradient": dx, "kernel gradient": dk}

    got, want = both(x, k, "tune"), both(x, k, "einsum")
    for name, array in got.items():
        assert_close(array, want[name], name, tolerance=1e-5)
    assert sorted(form.slot for form, _ in tune.measurements) == ["k", "x", "y"]
    assert len(json.loads(file.read_text())) == 3


@pytest.mark.slow
def test_every_way_to_select_tune(monkeypatch, measured):
    assert check_impl("tune") == "tune"
    x, k = jnp.ones(FORM.x), jnp.ones(FORM.k)
    with jc.using(impl="tune"):
        jc.conv(x, k)
    monkeypatch.setenv("JAXCONV_IMPL", "tune")
    jc.conv(x, k, stride=2)
    assert [form.stride for form in measured] == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_the_command_shows_each_convolution_and_keeps_the_choice(tmp_path, file):
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    result = CliRunner().invoke(app, ["tune", str(config), "train.batch_size=16"])
    assert result.exit_code == 0, result.output
    *rows, last = result.stdout.splitlines()
    what = [row.split(": ") for row in rows]
    assert sorted(words for words, _ in what) == ["kernel gradient 16×8×8×1, 3×3×1×4", "output 16×8×8×1, 3×3×1×4"]
    for _, choice in what:
        assert re.fullmatch(r"[a-z]+ \d+\.\d{3} ms, auto (the same|[a-z]+ \d+\.\d{3} ms)", choice)
    assert last == f"wrote {file}; to train with it: JAXCONV_IMPL=tune jaxconv train {config}"
    assert len(json.loads(file.read_text())) == 2
    again = CliRunner().invoke(app, ["tune", str(config), "train.batch_size=16"])
    assert again.stdout == result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "tiny.toml"]


def test_the_command_reports_a_damaged_file(tmp_path, file):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    file.parent.mkdir()
    file.write_text("[]")
    result = CliRunner().invoke(app, ["tune", str(tmp_path / "tiny.toml")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {file} must contain measured formulations as JSON; got a list\n"
        "  fix: delete it; convolutions are then measured again\n"
    )
