"""A sweep reuses a run only if it would come out the same again."""

import json
import re

import pytest
from support import finished_run

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config


@pytest.fixture
def swept(tmp_path):
    """A sweep's folder whose second run is finished."""
    return finished_run.write(tmp_path / "seed=1", "seed=1").parent


def sweep(folder, *changes):
    return run.sweep(folder / "source.toml", [*changes, "seed=1"], folder)


def refusal(folder, *changes):
    with pytest.raises(ConfigError) as caught:
        sweep(folder, *changes)
    own = folder / "seed=1"
    first, fix = str(caught.value).splitlines()
    assert fix == f"  fix: give --out another folder, or delete {own} to train it again"
    assert {path.name for path in folder.iterdir()} == {"source.toml", "seed=1"}  # nothing was trained
    return first.removeprefix(f"a sweep reuses only runs of the same config, code and data; {own} has ")


def test_the_same_run_is_reused(swept):
    assert sweep(swept) == [finished_run.RESULT]


def test_values_that_follow_from_others_are_not_compared(tmp_path):
    for epochs, steps in ((1, 23), (2, 45)):
        schedule = "optim.schedule.name=cosine_decay_schedule"
        folder = finished_run.write(tmp_path / f"epochs={epochs}", f"epochs={epochs}", schedule)
        assert f"decay_steps = {steps}" in (folder / "config.toml").read_text()
    assert list(run.compare(tmp_path)[0]) == ["run", "accuracy", "loss", "step", "seconds", "train.epochs"]
    text = finished_run.CONFIG.replace("[train]", '[optim.schedule]\nname = "cosine_decay_schedule"\n[train]')
    (tmp_path / "source.toml").write_text(text)
    assert run.sweep(tmp_path / "source.toml", ["epochs=1,2"], tmp_path) == [finished_run.RESULT] * 2
    longer = run.settings_of(tmp_path / "epochs=1", ["epochs=2"])
    assert longer == config.read(tmp_path / "source.toml", ["epochs=2"])


@pytest.mark.parametrize("finished", [True, False])
def test_another_base_config_is_refused(tmp_path, finished):
    folder = finished_run.write(tmp_path / "seed=1", "seed=1", finished=finished).parent
    text = finished_run.CONFIG.replace("[8]", "[16, 4]").replace("0.02", "0.5")
    (folder / "source.toml").write_text(text)
    assert refusal(folder) == "net.features [8], now [16, 4]; optim.learning_rate 0.02, now 0.5"


def change(folder, **entries):
    path = folder / "seed=1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_other_code_is_refused(swept):
    manifest = json.loads((swept / "seed=1" / "manifest.json").read_text())
    other = "been trained by another version of jaxconv's code or of the config's own modules"
    change(swept, versions=manifest["versions"] | {"jax": "0.1"})
    assert refusal(swept) == f"jax '0.1', now {manifest['versions']['jax']!r}"
    change(swept, versions=manifest["versions"], code="0" * 64)
    assert refusal(swept) == other
    change(swept, code=manifest["code"], resumed=[{"step": 5}])
    assert sweep(swept) == [finished_run.RESULT]
    change(swept, resumed=[{"step": 5}, {"step": 9, "code": "0" * 64}])
    assert refusal(swept) == other


def test_a_module_of_the_users_own_is_code(tmp_path, monkeypatch):
    from jaxconv.run import config
    from jaxconv.run.code import code_checksum

    module = tmp_path / "swept_nets.py"
    module.write_text("import jaxconv as jc\ndef net(classes): return jc.chain(jc.flatten, jc.Dense(classes))\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = finished_run.CONFIG.replace("conv_pool", "swept_nets:net")
    kept = [line for line in text.splitlines() if not line.startswith(("features", "kernel_size", "padding", "hidden"))]
    (tmp_path / "own.toml").write_text("\n".join(kept))
    settings = config.read(tmp_path / "own.toml")
    before = code_checksum(settings)
    assert before == code_checksum(settings)
    module.write_text(module.read_text() + "# changed\n")
    assert code_checksum(settings) != before


def test_values_longer_than_a_file_name(tmp_path, monkeypatch):
    (tmp_path / "source.toml").write_text(finished_run.CONFIG)
    made = []
    from jaxconv.run import sweeps as module

    monkeypatch.setattr(module, "train", lambda settings, folder, *_: made.append(folder) or {})
    long = f"pretrained.weights={'a' * 256},{'a' * 255}é"
    run.sweep(tmp_path / "source.toml", [long], tmp_path / "swept")
    assert len({folder.name for folder in made}) == 2  # told apart by their checksums
    for folder in made:
        folder.mkdir(parents=True)  # the file system takes the name
        assert re.fullmatch("weights=a{199}-[0-9a-f]{12}", folder.name)


def test_a_config_with_a_long_name_gets_a_folder(tmp_path):
    folder = run.new_folder("c" * 250, tmp_path)
    assert re.fullmatch(r"c{207}-[0-9a-f]{12}-\d{8}-\d{6}", folder.name)
    assert folder.is_dir()


def test_one_of_several_processes_is_refused(swept, monkeypatch):
    variables = {"JOB_ID": "7", "STEP_NODELIST": "node[1-2]", "NTASKS": "4", "PROCID": "1", "LOCALID": "0"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fix = "fix: start one process, which trains as many runs at once as there are devices for"
    with pytest.raises(ConfigError) as caught:
        sweep(swept)
    assert str(caught.value) == f"a sweep must have one process; got one of 4; {fix}"
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(ConfigError) as caught:
        sweep(swept)
    assert str(caught.value) == f"PMI_SIZE=4, but JAX finds no cluster here; {fix}"


def test_other_data_is_refused(swept):
    data = json.loads((swept / "seed=1" / "manifest.json").read_text())["data"]
    change(swept, data=data | {"train": data["train"] | {"sha256": "0" * 64}})
    assert refusal(swept) == "been trained on other data"
