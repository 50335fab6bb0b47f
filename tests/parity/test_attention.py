"""Attention blocks and pyramids against the same blocks in torch: values, gradients and names of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
from parity.test_layers import Row, check  # noqa: E402  (it needs torch)

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.sampled]


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class ECA(nn.Module):
    """The authors' forward."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        y = F.adaptive_avg_pool2d(x, 1)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(y)


class CBAM(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(6, 2, 1, bias=False), nn.Conv2d(2, 6, 1, bias=False)
        self.conv = nn.Conv2d(2, 1, 5, padding=2, bias=False)

    def forward(self, x):
        pools = (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1))
        x = x * torch.sigmoid(sum(self.fc2(F.relu(self.fc1(y))) for y in pools))
        ends = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * torch.sigmoid(self.conv(ends))


class CoordinateAttention(nn.Module):
    """The authors' forward."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8)
        self.conv_h, self.conv_w = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)

    def forward(self, x):
        h, w = x.shape[2:]
        y = torch.cat([F.adaptive_avg_pool2d(x, (h, 1)), F.adaptive_avg_pool2d(x, (1, w)).permute(0, 1, 3, 2)], 2)
        y = F.hardswish(self.bn1(self.conv1(y)))
        down, across = torch.split(y, [h, w], dim=2)
        return x * self.conv_h(down).sigmoid() * self.conv_w(across.permute(0, 1, 3, 2)).sigmoid()


class Pooled(nn.Sequential):
    """Pools, convolves, and resizes to the size of its input."""

    align_corners = False

    def forward(self, x):
        y = x
        for module in self:
            y = module(y)
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)


def unit(*args, **words):
    return [nn.Conv2d(*args, bias=False, **words), nn.BatchNorm2d(args[1]), nn.ReLU()]


class ASPP(nn.Module):
    def __init__(self):
        super().__init__()
        dilated = [nn.Sequential(*unit(6, 4, 3, padding=rate, dilation=rate)) for rate in (1, 2)]
        self.convs = nn.ModuleList(
            [nn.Sequential(*unit(6, 4, 1)), *dilated, Pooled(nn.AdaptiveAvgPool2d(1), *unit(6, 4, 1))]
        )
        self.project = nn.Sequential(*unit(16, 4, 1), nn.Dropout(0.0))

    def forward(self, x):
        return self.project(torch.cat([conv(x) for conv in self.convs], 1))


class PPM(nn.ModuleList):
    def __init__(self, align_corners):
        super().__init__(Pooled(nn.AdaptiveAvgPool2d(m), *unit(6, 2, 1)) for m in (1, 2, 3))
        for level in self:
            level.align_corners = align_corners

    def forward(self, x):
        return torch.cat([x, *(level(x) for level in self)], 1)


SHAPE = (2, 7, 5, 6)
BLOCKS = {
    "SqueezeExcite": Row(lambda: jc.SqueezeExcite(6, 2), SqueezeExcite, SHAPE),
    "ECA": Row(lambda: jc.ECA(3), ECA, SHAPE),
    "CBAM": Row(lambda: jc.CBAM(6, 2, kernel_size=5), CBAM, SHAPE),
    "CoordinateAttention": Row(lambda: jc.CoordinateAttention(6, 8), CoordinateAttention, SHAPE),
    "ASPP": Row(lambda: jc.ASPP(4, (1, 2), dropout=0.0), ASPP, SHAPE),
    "PPM": Row(lambda: jc.PPM(2, (1, 2, 3)), lambda: PPM(False), SHAPE),
    "PPM align_corners": Row(lambda: jc.PPM(2, (1, 2, 3), align_corners=True), lambda: PPM(True), SHAPE),
    "Upsample": Row(
        lambda: jc.Upsample(scale=2, mode="linear", align_corners=True), lambda: nn.UpsamplingBilinear2d(scale_factor=2)
    ),
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, train, rng, assert_close):
    if train and name in ("CoordinateAttention", "ASPP"):
        pytest.skip("the gradient of a bias before a batch norm is rounding alone")
    check(BLOCKS[name], rng, assert_close, train)


def test_spp(rng):
    """Levels one after the other, the channels of a window adjacent."""
    x = rng.normal(size=(2, 7, 5, 3))
    want = [F.adaptive_max_pool2d(torch.tensor(x).movedim(-1, 1), m).movedim(1, -1).flatten(1) for m in (3, 1)]
    np.testing.assert_array_equal(jc.SPP((3, 1)).apply({}, {}, x)[0], torch.cat(want, 1))


@pytest.mark.slow
def test_attention_pool(rng, assert_close):
    """CLIP's AttentionPool2d: multi-head attention of torch, with the mean as its only query."""
    layer, x = jc.AttentionPool(8, 2, out_features=5), rng.normal(size=(3, 4, 2, 8))
    shapes, state = jax.eval_shape(lambda key: layer.init(key, x), jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)

    def theirs(p, x):
        tokens = x.reshape(3, 8, 8).transpose(0, 1)
        tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + p["positions"]["embedding"][:, None]
        weights = [p[name]["kernel"].T for name in ("query", "key", "value")]
        biases = torch.cat([p[name]["bias"] for name in ("query", "key", "value")])
        return F.multi_head_attention_forward(
            tokens[:1], tokens, tokens, 8, 2, None, biases, None, None, False, 0.0, p["out"]["kernel"].T,
            p["out"]["bias"], need_weights=False, use_separate_proj_weight=True, q_proj_weight=weights[0],
            k_proj_weight=weights[1], v_proj_weight=weights[2],
        )[0][0]  # fmt: skip

    leaves, tree = jax.tree.flatten((params, x))
    tensors = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
    want = theirs(*tree.unflatten(tensors))
    g = rng.normal(size=(3, 5))
    slopes = torch.autograd.grad(want, tensors, torch.tensor(g))
    got, pull = jax.vjp(lambda p, x: layer.apply(p, state, x)[0], params, x)
    assert_close(got, want.detach().numpy())
    for mine, other in zip(jax.tree.leaves(pull(jnp.asarray(g))), slopes, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-9)
