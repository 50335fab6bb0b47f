"""Type checkers reject wrong programs at the line that is wrong, and accept right ones and README's."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import jaxconv

pytestmark = pytest.mark.slow  # a checker reads all of JAX: 10 to 20 s a run

PACKAGE = pathlib.Path(jaxconv.__file__).parents[1]
README = pathlib.Path(__file__).parents[2] / "README.md"
MARK = "# wrong"

PRELUDE = """
import jax
import jax.numpy as jnp
import jaxconv as jc
import numpy as np
import optax

key = jax.random.key(0)
images = jnp.zeros((8, 28, 28, 1))
labels = jnp.zeros(8, jnp.int32)
net = jc.chain(jc.Conv(20, 5), jax.nn.relu, jc.MaxPool(2), jc.flatten, head=jc.Dense(10))
tx = optax.sgd(0.1)
params, state = net.init(key, (1, 28, 28, 1))
"""

WRONG = {
    "params and state swapped": "logits, _ = net.apply(state, params, images)  # wrong",
    "state twice": "logits, _ = net.apply(state, state, images)  # wrong",
    "params twice": "logits, _ = net.apply(params, params, images)  # wrong",
    "params and state swapped in evaluate": "jc.training.evaluate(net, state, params, images, labels)  # wrong",
    "params and state of loaded weights swapped": """
weights, statistics = jc.port.load(net, "lenet.pt", x=(1, 28, 28, 1))
net.apply(statistics, weights, images)  # wrong
""",
    "a misspelt keyword": "jc.Conv(8, 3, pading=1)  # wrong",
    "a misspelt keyword of apply": "net.apply(params, state, images, training=True)  # wrong",
    "an old keyword": "jc.Conv(8, size=3)  # wrong",
    "a string for an image": 'net.apply(params, state, "cat.png")  # wrong',
    "a string for the input of init": 'net.init(key, "mnist")  # wrong',
    "a string for an array": 'jc.max_pool("cat.png", 2)  # wrong',
    "no kernel size": "jc.Conv(8)  # wrong",
    "a layer for an array": "jc.flatten(net)  # wrong",
    "a layer for an image": "net.apply(params, state, net)  # wrong",
    "an int for the key of init": "net.init(0, (1, 28, 28, 1))  # wrong",
    "an int for the key of apply": "net.apply(params, state, images, key=0, train=True)  # wrong",
    "a result that is not unpacked": """
logits = net.apply(params, state, images)
logits.argmax(-1)  # wrong
""",
    "an unknown name": "jc.Convolution(8, 3)  # wrong",
    "an unknown net": "jc.models.resnet19()  # wrong",
    "a fractional padding": "jc.Conv(8, 3, padding=3.5)  # wrong",
    "a misspelt padding": 'jc.Conv(8, 3, padding="sane")  # wrong',
    "torch's padding mode": 'jc.conv(images, jnp.ones((3, 3, 1, 8)), padding_mode="circular")  # wrong',
    "a list of layers": "jc.chain([jc.Conv(8, 3), jc.MaxPool(2)])  # wrong",
    "a layer that is not called": "jc.chain(jc.Conv(8, 3), jc.MaxPool)  # wrong",
    "a model that is not called": "jc.summary(jc.models.lenet5, (1, 32, 32, 1)).parameter  # wrong",
    "a string for a number of classes": 'jc.models.resnet18(num_classes="ten")  # wrong',
    "a loss by name": 'jc.training.make_step(net, tx, loss="cross_entropy")  # wrong',
    "params for logits": "jc.losses.cross_entropy(params, labels)  # wrong",
    "an unknown loss": "jc.losses.crossentropy(images, labels)  # wrong",
    "patterns in a list": 'jc.optim.freeze(tx, ["stem"])  # wrong',
    "a factor for multipliers": "jc.optim.scale_lr(tx, 0.1)  # wrong",
    "something to accelerate that is no function": "jc.accelerate(images)  # wrong",
    "a method that accelerate does not have": "jc.accelerate.explain(jax.grad(jnp.sum), images)  # wrong",
    "a layer of one's own without state": """
def init(key: jax.Array, x: jc.typing.InputSpec) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    return {}, {}
def apply(params, state, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
    return x
jc.Layer("mine", init, apply)  # wrong
""",
}

RIGHT = {
    "forward": """
logits, state = net.apply(params, state, images, key=key, train=True)
logits.argmax(-1)
net.apply(params, state, np.zeros((8, 28, 28, 1)))
params["head"]["kernel"].shape
layers: list[jc.typing.Part] = [jc.Conv(8, (3, 3), padding=((0, 1), (1, 0))), jax.nn.relu, jnp.tanh, lambda x: x + 1]
jc.chain(*layers, jc.residual(jc.Conv(8, 3, padding="same")), jc.branch(jnp.sin, jnp.cos, merge="sum"))
""",
    "plain dicts": """
double = jc.compose("double", {"half": jnp.tanh}, lambda call, x: call("half", x) + call("half", x))
double.apply({"half": {}}, {"half": {}}, jnp.zeros(2))
net.apply({**params, "head": {"kernel": jnp.zeros((2880, 10)), "bias": jnp.zeros(10)}}, dict(state.items()), images)
""",
    "transforms": """
jax.vmap(net.init, (0, None))(jax.random.split(key), (1, 28, 28, 1))
params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
logits, state = jax.jit(net.apply, static_argnames="train")(params, state, images)
net.apply(params, state, images)
""",
    "a loop in optax": """
opt_state = tx.init(params)
def loss(params: jc.typing.Params, state: jc.typing.State) -> tuple[jax.Array, jc.typing.State]:
    logits, state = net.apply(params, state, images, key=key, train=True)
    return jc.losses.cross_entropy(logits, labels), state
for _ in range(3):
    (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
    updates, opt_state = tx.update(gradient, opt_state, params)
    params = optax.apply_updates(params, updates)
net.apply(params, state, images)[0].argmax(-1)
""",
    "the functions of a loop": """
train = jc.training.init_state(net, jc.optim.freeze(tx, "conv0"), key, (1, 28, 28, 1))
step = jax.jit(jc.training.make_step(net, tx, augment=jc.augment.flip()), donate_argnums=0)
dataset = jc.data.load("digits")
for batch in jc.training.shuffled_batches(dataset.train, 64, seed=0, steps=range(10)):
    train, metrics = step(train, batch)
jc.training.evaluate(net, train.params, train.state, images, labels).accuracy
jc.training.save_checkpoint("train.safetensors", train)
train = jc.training.load_checkpoint("train.safetensors", train)
net.apply(train.params, train.state, images)
""",
    "a layer of one's own": """
def init(key: jax.Array, x: jc.typing.InputSpec) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    return {"scale": jnp.ones(())}, {}
def apply(params: dict[str, jax.Array], state: jc.typing.State, x: jax.Array, *, key=None, train: bool = False):
    return x * params["scale"], state
jc.chain(jc.Conv(8, 3), jc.Layer("mine", init, apply))
""",
    "accelerate": """
fast = jc.accelerate(lambda x: x + 1)
fast(images).shape
print(jc.accelerate.report(jax.grad(jnp.sum), images))
def step(x: jax.Array, n: int) -> jax.Array:
    return x * n
jc.accelerate(step)(images, 3).shape
""",
    "models and analysis": """
backbone = jc.models.resnet18(num_classes=10)
print(jc.summary(backbone, (1, 224, 224, 3)).macs, jc.explain.smallest_input(backbone, channels=3))
jc.geometry.output_size(28, 5)
""",
}


def named(name):
    return re.sub(r"\W+", "_", name)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Every program as a file of its own: path -> the line that is wrong, or None."""
    folder, found = tmp_path_factory.mktemp("clients"), {}
    readme = {
        f"readme {i}": text for i, text in enumerate(re.findall(r"```python\n(.*?)```", README.read_text(), re.S))
    }
    assert readme
    for name, text in (WRONG | RIGHT).items():
        found[folder / f"{named(name)}.py"] = PRELUDE + text
    (folder / "readme.py").write_text("")
    found[folder / "readme.py"] = "\n".join(readme.values())  # one after the other, as the README's test runs them
    for path, text in found.items():
        path.write_text(text)
    return found


def run(*command, folder):
    environment = os.environ | {"MYPYPATH": str(PACKAGE), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def pyright(programs):
    """(file, line) -> messages of pyright, for all programs at once."""
    pytest.importorskip("pyright")
    folder = next(iter(programs)).parent
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(PACKAGE)], "include": ["."]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    out = run("pyright", "--outputjson", "--pythonpath", sys.executable, folder=folder)
    found = {}
    for error in json.loads(out.stdout)["generalDiagnostics"]:
        if error["severity"] == "error":
            place = pathlib.Path(error["file"]).name, error["range"]["start"]["line"] + 1
            found.setdefault(place, []).append(error["message"])
    return found


@pytest.fixture(scope="module")
def mypy(programs):
    """The same of mypy. It knows no types of optax, which has no py.typed."""
    pytest.importorskip("mypy")
    folder = next(iter(programs)).parent
    (folder / "mypy.ini").write_text(
        "[mypy]\ncheck_untyped_defs = True\n[mypy-optax.*,chex.*,torch.*]\nignore_missing_imports = True\n"
    )
    out = run("mypy", "--hide-error-context", "--no-color-output", ".", folder=folder)
    found = {}
    for file, line, message in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", out.stdout, re.M):
        found.setdefault((file, int(line)), []).append(message)
    assert found, out.stdout + out.stderr
    return found


@pytest.fixture(params=["pyright", "mypy"], scope="module")
def errors(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name, errors):
    lines = (PRELUDE + WRONG[name]).splitlines()
    (wrong,) = [number for number, line in enumerate(lines, 1) if line.endswith(MARK)]
    found = {line for file, line in errors if file == f"{named(name)}.py"}
    assert found == {wrong}


@pytest.mark.parametrize("name", [*RIGHT, "readme"])
def test_right(name, errors):
    assert {place: text for place, text in errors.items() if place[0] == f"{named(name)}.py"} == {}
