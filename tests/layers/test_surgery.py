"""replace, backbone, partition, freeze."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc

X = jax.random.normal(jax.random.key(9), (2, 8, 8, 3))


def net(head=10):
    stage = jc.chain(jc.Conv(4, 3), jc.BatchNorm(), jnp.tanh)
    return jc.chain(stem=jc.Conv(4, 3), stage1=jc.remat(stage), stage2=jc.chain(jc.Conv(5, 3)), head=jc.Dense(head))


def test_replace_draws_the_others_as_before():
    whole, other = net(), jc.replace(net(), "head", jc.Dense(3))
    a, b = (n.init(jax.random.key(0), X)[0] for n in (whole, other))
    assert b["head"]["kernel"].shape == (5, 3)
    for part in ("stem", "stage1", "stage2"):
        jax.tree.map(np.testing.assert_array_equal, a[part], b[part])


@pytest.mark.slow
def test_replace_goes_into_wrappers_and_keeps_them():
    other = jc.replace(net(), "stage1/tanh0", jax.nn.relu)
    assert other.parts["stage1"].name == "remat(chain)"
    assert other.parts["stage1"].parts["tanh0"].name == "relu"
    params, state = other.init(jax.random.key(0), X)
    a, b = (n.apply(params, state, X)[0] for n in (net(), other))
    assert np.abs(a - b).max() > 0


@pytest.mark.parametrize("upto", ["stem", "stage1", "stage2", "stage2/conv0"])
def test_backbone_returns_what_the_net_computes_at_that_part(upto):
    whole, backbone = net(), jc.backbone(net(), upto=upto)
    params, state = whole.init(jax.random.key(0), X)
    h, new = X, {}
    for name, part in whole.parts.items():
        h, new[name] = part.apply(params[name], state[name], h, train=True)
        if name == upto.split("/")[0]:
            break
    y, kept = backbone.apply(params, state, X, train=True)
    np.testing.assert_array_equal(y, h)
    jax.tree.map(np.testing.assert_array_equal, kept, {**state, **new})
    own = backbone.init(jax.random.key(0), X)
    np.testing.assert_array_equal(backbone.apply(*own, X, train=True)[0], h)
    assert "head" not in own[0]


def test_backbone_computes_nothing_beyond():
    whole = jc.chain(a=jnp.sin, b=lambda x: x @ jnp.ones((99, 99)))
    y, _ = jc.backbone(whole, upto="a").apply({"a": {}}, {"a": {}}, X)
    np.testing.assert_array_equal(y, jnp.sin(X))


def test_a_backbone_of_a_backbone():
    whole = jc.chain(a=jnp.sin, b=jc.chain(c=jnp.cos, d=jnp.exp), e=jnp.tanh)
    for first, second, want in (("b", "b", jnp.exp), ("b/d", "b/d", jnp.exp), ("b", "b/c", lambda x: x)):
        net = jc.backbone(jc.backbone(whole, first), second)
        np.testing.assert_array_equal(net.apply(*net.init(jax.random.key(0), X), X)[0], want(jnp.cos(jnp.sin(X))))


def test_partition_labels_by_path_and_the_first_fit_counts():
    params, _ = net().init(jax.random.key(0), X)
    labels = jc.optim.partition(params, {"frozen": ["stem", "*/conv0/kernel"], "bias": "*bias"}, default="rest")
    assert labels["stem"] == {"kernel": "frozen", "bias": "frozen"}
    assert labels["stage2"]["conv0"] == {"kernel": "frozen", "bias": "bias"}
    assert labels["head"] == {"kernel": "rest", "bias": "bias"}
    assert jax.tree.structure(labels) == jax.tree.structure(params)


@pytest.mark.slow
def test_frozen_parameters_stay_bit_for_bit_and_others_move():
    model = net()
    params, state = model.init(jax.random.key(0), X)
    tx = jc.optim.freeze(optax.adamw(0.1), "stem", "stage1/*")

    @jax.jit
    def step(params, opt):
        grads = jax.grad(lambda p: jnp.sum(model.apply(p, state, X)[0] ** 2))(params)
        updates, opt = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt

    new, opt = params, tx.init(params)
    for _ in range(3):
        new, opt = step(new, opt)
    for part in ("stem", "stage1"):
        jax.tree.map(np.testing.assert_array_equal, new[part], params[part])
    for part in ("stage2", "head"):
        assert all(
            np.abs(a - b).min() > 0 for a, b in zip(*map(jax.tree.leaves, (new[part], params[part])), strict=True)
        )


def test_frozen_statistics_normalize_in_training_too_and_stay(rng):
    """The frozen part gives its inference output, the other its training output; dropout and other parts run."""

    def part():
        return jc.chain(norm=jc.BatchNorm(), relu=jax.nn.relu)

    net = jc.chain(stem=jc.cast(part(), jnp.bfloat16), layers=jc.repeat(part(), 2), norm=jc.BatchNorm())
    frozen = jc.freeze_statistics(net, "stem", "layers/*", "norm/bias")
    x = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, frozen.init(jax.random.key(0), x), (params, state)))
    state = jax.tree.map(lambda leaf: leaf + 0.5, state)
    y, new = frozen.apply(params, state, x, train=True)
    inner = jc.chain(*[net.parts[name] for name in ("stem", "layers")])
    named = {f"{net.parts[name].name}0": name for name in ("stem", "layers")}
    h, _ = inner.apply(*({key: tree[name] for key, name in named.items()} for tree in (params, state)), x)
    right, moved = net.parts["norm"].apply(params["norm"], state["norm"], h, train=True)
    np.testing.assert_array_equal(y, right)
    for name in ("stem", "layers"):
        assert jax.tree.all(jax.tree.map(jnp.array_equal, new[name], state[name]))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, new["norm"], moved))
    assert not jnp.array_equal(new["norm"]["mean"], state["norm"]["mean"])


def test_ghost_batch_norm_groups_every_batch_norm(rng):
    """The net made of `BatchNorm(group=)`, through wrappers; the other layers, params and state are the same."""

    def net(**options):
        body = jc.residual(jc.cast(jc.chain(jc.Dense(4), jc.BatchNorm(momentum=0.5, **options)), jnp.bfloat16))
        return jc.chain(body, jc.repeat(jc.chain(jc.BatchNorm(**options), jax.nn.relu), 2), jc.LayerNorm())

    x = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    params, state = net().init(jax.random.key(0), x)
    ghost = jc.ghost_batch_norm(net(), 2)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, ghost.init(jax.random.key(0), x), (params, state)))
    found, want, plain = (each.apply(params, state, x, train=True) for each in (ghost, net(group=2), net()))
    jax.tree.map(np.testing.assert_array_equal, found, want)
    assert not jnp.allclose(found[0], plain[0])
    assert repr(ghost).count("BatchNorm() in groups of 2") == 1
    assert repr(ghost).count("BatchNorm(momentum=0.5) in groups of 2") == 1
    np.testing.assert_array_equal(ghost.apply(params, state, x)[0], net().apply(params, state, x)[0])
    with pytest.raises(jc.ShapeError) as raised:
        jc.ghost_batch_norm(jc.chain(jc.LayerNorm()), 2)
    assert str(raised.value) == (
        "ghost_batch_norm needs a net with batch norms\n  got: chain without\n  fix: leave the groups out"
    )
    with pytest.raises(jc.ShapeError, match="group must be"):
        jc.ghost_batch_norm(net(), 0)


def test_frozen_parts_keep_their_dropout_and_their_pretrained_weights(rng):
    net = jc.chain(dense=jc.Dense(3), drop=jc.Dropout(0.5), norm=jc.BatchNorm())
    weights = {"dense.weight": rng.normal(size=(3, 4)), "dense.bias": np.zeros(3)}
    weights |= {f"norm.{word}": np.full(3, 2.0) for word in ("weight", "bias", "running_mean", "running_var")}
    frozen = jc.freeze_statistics(jc.port.pretrained(net, weights), "*")
    params, state = frozen.init(jax.random.key(0), (2, 4))
    np.testing.assert_allclose(params["dense"]["kernel"], weights["dense.weight"].T, rtol=1e-6)
    x, key = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32), jax.random.key(1)
    y, new = frozen.apply(params, state, x, key=key, train=True)
    assert not jnp.allclose(y, frozen.apply(params, state, x)[0])
    assert jax.tree.all(jax.tree.map(jnp.array_equal, new, state))
    with pytest.raises(jc.ShapeError, match="freeze_statistics needs patterns"):
        jc.freeze_statistics(net, ["norm"])
