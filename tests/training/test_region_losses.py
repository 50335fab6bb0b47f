"""Losses of pixels: against torch, a loop, and Berman's published code for the Lovász loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.torch_or_skip import F, torch

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.training.losses import boundary, cross_entropy, dice, focal, lovasz
from jaxconv.training.named import make_loss, make_sum, term_problems

N, H, W, C = 3, 4, 5, 4
IGNORED = 255


@pytest.fixture
def problem(rng):
    """Logits and labels of pixels, some of which are ignored; no pixel has the last class."""
    labels = rng.integers(0, C - 1, (N, H, W))
    labels[rng.random((N, H, W)) < 0.2] = IGNORED
    return rng.normal(0, 2, (N, H, W, C)).astype(np.float32), labels


def torchs_lovasz(logits, labels):
    """lovasz_softmax(per_image=False, classes="present", ignore=255) of github.com/bermanmaxim/LovaszSoftmax."""
    probas, labels = F.softmax(logits, -1).reshape(-1, C), labels.ravel()
    probas, labels = probas[labels != IGNORED], labels[labels != IGNORED]
    losses = []
    for c in range(C):
        fg = (labels == c).double()
        if fg.sum() == 0:
            continue
        errors_sorted, perm = torch.sort((fg - probas[:, c]).abs(), 0, descending=True)
        gt_sorted = fg[perm]
        gts = gt_sorted.sum()
        intersection = gts - gt_sorted.cumsum(0)
        union = gts + (1 - gt_sorted).cumsum(0)
        jaccard = 1.0 - intersection / union
        jaccard[1:] = jaccard[1:] - jaccard[:-1]
        losses.append(torch.dot(errors_sorted, jaccard))
    return torch.stack(losses).mean()


def torchs_dice(logits, labels):
    p, losses = F.softmax(logits, -1).reshape(-1, C), []
    known = labels.ravel() != IGNORED
    for c in range(C):
        g = (labels.ravel() == c).double()
        if g.sum() > 0:
            losses.append(1 - 2 * (p[:, c] * g).sum() / ((p[:, c] * known).sum() + g.sum()))
    return torch.stack(losses).mean()


def torchs_cross_entropy(logits, labels):
    return F.cross_entropy(logits.movedim(-1, 1), labels, ignore_index=IGNORED)


def torchs_focal(logits, labels):
    log_p = F.log_softmax(logits, -1).reshape(-1, C)[labels.ravel() != IGNORED]
    own = log_p[torch.arange(len(log_p)), labels.ravel()[labels.ravel() != IGNORED]]
    return (-((1 - own.exp()) ** 2) * own).mean()


def torchs_boundary(logits, labels):
    """BoundaryLoss(theta0=3, theta=5) of github.com/yiskw713/boundary_loss_for_remote_sensing, with sums over the
    batch; ignored pixels neither bound nor are bounds, and of the classes those with bounds count."""
    known = (labels != IGNORED)[:, None]
    p = F.softmax(logits, -1).movedim(-1, 1)
    g = F.one_hot(labels.where(labels != IGNORED, 0), C).double().movedim(-1, 1)
    bounds = []
    for values in (g, p):
        outside = (1 - values) * known
        edge = (F.max_pool2d(outside, 3, 1, 1) - outside) * known
        bounds += [edge.movedim(1, -1).reshape(-1, C), F.max_pool2d(edge, 5, 1, 2).movedim(1, -1).reshape(-1, C)]
    gt_b, gt_b_ext, pred_b, pred_b_ext = bounds
    precision = (pred_b * gt_b_ext).sum(0) / (pred_b.sum(0) + 1e-7)
    recall = (pred_b_ext * gt_b).sum(0) / (gt_b.sum(0) + 1e-7)
    f1 = 2 * precision * recall / (precision + recall + 1e-7)
    return (1 - f1)[gt_b.sum(0) > 0].mean()


PAIRS = [
    (cross_entropy, torchs_cross_entropy),
    (focal, torchs_focal),
    (dice, torchs_dice),
    (lovasz, torchs_lovasz),
    (boundary, torchs_boundary),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_values_and_gradients(problem, assert_close, ours, theirs):
    logits, labels = problem
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    expected = theirs(x, torch.tensor(labels))
    expected.backward()
    loss = jax.jit(jax.value_and_grad(lambda x: ours(x, jnp.asarray(labels), ignore_index=IGNORED)))
    value, gradient = loss(jnp.asarray(logits))
    assert_close(value, expected.detach().numpy())
    assert_close(gradient, x.grad.numpy())


@pytest.mark.parametrize("loss", [pair[0] for pair in PAIRS])
def test_weights_ignored_pixels_and_labels_outside_the_classes(problem, loss):
    @jax.jit
    def values(logits, labels):
        ignored, nothing = labels == IGNORED, jnp.full_like(labels, IGNORED)
        damaged = logits.at[2].set(jnp.nan)  # of weight 0
        others = jnp.where(ignored[..., None], 50.0, logits)  # what is ignored may be anything
        return (
            loss(logits[:2], labels[:2], ignore_index=IGNORED),
            loss(damaged, labels, jnp.array([1.0, 1.0, 0.0]), ignore_index=IGNORED),
            loss(others[:2], labels[:2], ignore_index=IGNORED),
            loss(logits, jnp.where(ignored, C, labels)),
            jax.value_and_grad(lambda x: loss(x, nothing, ignore_index=IGNORED))(logits),
        )

    whole, damaged, others, outside, (nothing, gradient) = values(*problem)
    np.testing.assert_allclose([damaged, others], [whole, whole], rtol=1e-6)
    assert np.isnan(outside)
    assert nothing == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss", [dice, lovasz])
def test_right_and_wrong_answers_are_the_ends_of_the_losses_of_regions(loss):
    labels = jnp.array([[[0, 1], [2, 1]]])
    ends = jax.jit(lambda labels: [loss(200 * jax.nn.one_hot((labels + k) % 3, 3), labels) for k in (0, 1)])(labels)
    np.testing.assert_allclose(ends, [0, 1], atol=1e-6)


@pytest.mark.slow
def test_a_boundary_within_the_tolerance_is_right():
    labels = jnp.zeros([2, 12, 12], int).at[:, :, 6:].set(1)
    moved = [100 * jax.nn.one_hot(jnp.zeros_like(labels).at[:, :, 6 + k :].set(1), 2) for k in range(5)]
    found = [boundary(logits, labels, tolerance=2) for logits in moved]
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    assert found[0] <= found[1] <= found[2] < found[4]
    np.testing.assert_allclose([found[4], boundary(moved[3], labels, tolerance=0)], 1, atol=1e-6)
    assert boundary(moved[0], jnp.zeros_like(labels)) == 0  # nothing is bounded
    volume = jax.nn.one_hot(jnp.zeros([1, 4, 4, 4], int).at[:, 2:].set(1), 3)
    np.testing.assert_allclose(boundary(100 * volume, volume.argmax(-1)), 0, atol=1e-6)


def test_sums_of_losses(problem):
    words = {"ignore_index": IGNORED}
    total = make_sum(make_loss("dice"), {"cross_entropy": 0.5, "focal": {"weight": 2.0, "gamma": 1.0}}, smoothing=0.1)
    weighted = make_loss("cross_entropy", class_weights=[1.0, 2.0, 3.0, 4.0])

    @jax.jit
    def values(logits, labels):
        parts = [
            dice(logits, labels, **words),
            0.5 * cross_entropy(logits, labels, smoothing=0.1, **words),
            2 * focal(logits, labels, gamma=1.0, smoothing=0.1, **words),
        ]
        own = cross_entropy(logits, labels, class_weights=jnp.arange(1.0, 5.0), **words)
        ones = jnp.ones(N)
        return total(logits, labels, ones, **words), sum(parts), weighted(logits, labels, ones, **words), own

    found, expected, other, own = values(*problem)
    np.testing.assert_allclose([found, other], [expected, own], rtol=1e-6)


def test_problems():
    assert term_problems({"dise": 1, "focal": {"gama": 1}, "dice": True, "lovasz": {"weight": 0}}) == [
        'loss.terms.dise: must be one of cross_entropy, bce, focal, mse, dice, lovasz, boundary, or "module:function"; '
        "got 'dise'; did you mean 'dice'?",
        "loss.terms.focal.gama: focal takes gamma; did you mean 'gamma'?",
        "loss.terms.dice: must be a weight above 0, or a table of weight and arguments, got True",
        "loss.terms.lovasz: must be a weight above 0, or a table of weight and arguments, got {'weight': 0}",
    ]
    with pytest.raises(ConfigError, match="smooth must be a number of at least 0, got -1"):
        dice(jnp.zeros([1, 2]), jnp.array([0]), smooth=-1)
    with pytest.raises(ShapeError, match="a boundary loss needs logits of pixels"):
        boundary(jnp.zeros([2, 3]), jnp.zeros([2], int))
    with pytest.raises(ShapeError, match="tolerance must be ≥ 0"):
        boundary(jnp.zeros([1, 2, 2, 3]), jnp.zeros([1, 2, 2], int), tolerance=-1)
    with pytest.raises(ShapeError) as caught:
        lovasz(jnp.zeros([1, 2, 2, 3]), jnp.zeros([1, 2, 2, 3]))
    assert str(caught.value) == (
        "labels of a loss of regions must be integers [N, *spatial]\n  got: float32 [1, 2, 2, 3]\n"
        "  fix: cross_entropy, of soft labels"
    )
