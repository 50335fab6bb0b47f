"""A net of the registry with somebody's weights, asked about photographs."""

import jax
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from jaxconv import port
from jaxconv._base.errors import ConfigError
from jaxconv.cli.commands import app
from jaxconv.data.decode import read_square
from jaxconv.models import lenet5
from jaxconv.run.predict import pretrained


@pytest.mark.slow
def test_a_net_of_the_registry_with_weights_and_names_alone(tmp_path):
    net = lenet5(num_classes=3)
    params, state = net.init(jax.random.key(1), (1, 32, 32, 3))
    port.save(tmp_path / "lenet.safetensors", net, params, state, x=(1, 32, 32, 3))
    (tmp_path / "names.txt").write_text("ash\nbirch\ncedar\n")
    Image.fromarray(np.arange(40 * 64 * 3, dtype=np.uint8).reshape(40, 64, 3)).save(tmp_path / "tree.png")
    words = [
        "--net",
        "lenet5",
        "--weights",
        str(tmp_path / "lenet.safetensors"),
        "--names",
        str(tmp_path / "names.txt"),
    ]
    sizes = ["--size", "32", "--shorter", "36"]
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "tree.png"), *words, *sizes, "--top", "2"])
    assert result.exit_code == 0, result.output
    named = pretrained("lenet5", tmp_path / "lenet.safetensors", ["ash", "birch", "cedar"], size=32, shorter=36)
    picture = named.picture(tmp_path / "tree.png")
    assert picture.pixels.shape == (32, 32, 3)
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    logits, _ = net.apply(params, state, ((picture.pixels - mean) / std)[None].astype(np.float32))
    chance = np.asarray(jax.nn.softmax(logits))[0]
    order = np.argsort(-chance)[:2]
    told = ", ".join(f"{('ash', 'birch', 'cedar')[i]}  {chance[i]:.1%}" for i in order)
    assert result.stdout == f"{tmp_path}/tree.png: {told}\n"
    for wrong, message in [
        (words[:2], "error: --net requires --weights FILE"),
        (words[2:], "error: --weights and --names require --net, the net that they belong to"),
    ]:
        result = CliRunner().invoke(app, ["predict", str(tmp_path / "tree.png"), *wrong])
        assert (result.exit_code, result.stderr.strip()) == (2, message)


@pytest.mark.slow
def test_another_filter(tmp_path, rng):
    net = lenet5(num_classes=2)
    params, state = net.init(jax.random.key(1), (1, 32, 32, 3))
    file = tmp_path / "lenet.safetensors"
    port.save(file, net, params, state, x=(1, 32, 32, 3))
    Image.fromarray(rng.integers(0, 256, (40, 64, 3)).astype(np.uint8)).save(tmp_path / "x.png")
    named = pretrained("lenet5", file, ["a", "b"], size=32, shorter=36, interpolation="bilinear")
    want = read_square(tmp_path / "x.png", 32, 3, 36, interpolation="bilinear")
    np.testing.assert_array_equal(named.picture(tmp_path / "x.png").pixels, want)
    with pytest.raises(ConfigError) as caught:
        pretrained("lenet5", file, ["a", "b"], interpolation="linear")
    known = "nearest, box, bilinear, hamming, bicubic, lanczos"
    assert str(caught.value) == (f"--interpolation: must be one of {known}; got 'linear'; did you mean 'bilinear'?")
