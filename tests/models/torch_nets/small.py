"""U-Net, the airbench net and autoencoders in torch, written from their papers; parts named as ours are."""

import torch
from torch import nn
from torch.nn import functional as F


class Pair(nn.Module):
    """Two 3×3 convolutions with ReLU, each with a norm where wanted."""

    def __init__(self, c_in, c_out, padding, norm):
        super().__init__()
        for i, c in enumerate((c_in, c_out)):
            self.add_module(f"conv{i}", nn.Conv2d(c, c_out, 3, padding=padding, bias=not norm))
            self.add_module(f"batch_norm{i}", nn.BatchNorm2d(c_out) if norm else nn.Identity())

    def forward(self, x):
        x = F.relu(self.batch_norm0(self.conv0(x)))
        return F.relu(self.batch_norm1(self.conv1(x)))


class UNet(nn.Module):
    def __init__(self, c_in, classes, width, depth, same=False, norm=False):
        super().__init__()
        self.depth, self.same = depth, same
        maps = [c_in, *(width * 2**i for i in range(depth + 1))]
        for n in range(1, depth + 1):
            self.add_module(f"contract{n}", Pair(maps[n - 1], maps[n], int(same), norm))
            self.add_module(f"up{n}", nn.ConvTranspose2d(maps[n + 1], maps[n], 2, 2))
            self.add_module(f"expand{n}", Pair(2 * maps[n], maps[n], int(same), norm))
        self.bottom, self.head = Pair(maps[depth], maps[depth + 1], int(same), norm), nn.Conv2d(width, classes, 1)

    def forward(self, x):
        left = []
        for n in range(1, self.depth + 1):
            left.append(getattr(self, f"contract{n}")(x))
            x = F.max_pool2d(left[-1], 2, ceil_mode=self.same)
        x = self.bottom(x)
        for n in range(self.depth, 0, -1):
            x, copy = getattr(self, f"up{n}")(x), left.pop()
            if self.same:
                x = x[..., : copy.shape[2], : copy.shape[3]]
            else:  # the middle: as much off both sides
                lost = [(a - b) // 2 for a, b in zip(copy.shape[2:], x.shape[2:], strict=True)]
                copy = copy[..., lost[0] :, lost[1] :][..., : x.shape[2], : x.shape[3]]
            x = getattr(self, f"expand{n}")(torch.cat([copy, x], 1))
        return self.head(x)


class BiasNorm(nn.BatchNorm2d):
    """A batch norm whose weight is a constant one and no parameter; airbench's momentum is what stays."""

    def __init__(self, c):
        super().__init__(c, eps=1e-12, momentum=0.4)
        del self.weight
        self.weight = None


class Group(nn.Module):
    def __init__(self, c_in, c_out, depth):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c_in, c_out, 3, padding="same", bias=False), BiasNorm(c_out)
        rest = self if depth == 2 else nn.Module()
        for n in range(2, depth + 1):
            setattr(rest, f"conv{n}", nn.Conv2d(c_out, c_out, 3, padding="same", bias=False))
            setattr(rest, f"norm{n}", BiasNorm(c_out))
        if depth == 3:
            self.residual = nn.Module()
            self.residual.body = rest

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        if not hasattr(self, "residual"):
            return F.gelu(self.norm2(self.conv2(x)))
        rest = self.residual.body
        return F.gelu(x + rest.norm3(rest.conv3(F.gelu(rest.norm2(rest.conv2(x))))))


class Airbench(nn.Module):
    def __init__(self, features, classes, depth=2):
        super().__init__()
        first, second, third = features
        self.whiten = nn.Conv2d(3, 24, 2)
        self.group1, self.group2 = Group(24, first, depth), Group(first, second, depth)
        self.group3, self.head = Group(second, third, depth), nn.Linear(third, classes, bias=False)

    def forward(self, x):
        kernel = self.whiten.weight.detach() + 0 * self.whiten.weight  # no gradient, but one that is there
        x = F.gelu(F.conv2d(x, kernel, self.whiten.bias))
        x = F.max_pool2d(self.group3(self.group2(self.group1(x))), 3)
        return self.head(x.flatten(1)) / 9


def autoencode(params, x, tied):
    """Two strided convolutions, a dense code, and back, on params as ours are named and shaped (torch tensors).

    Sizes are those of 3×3 kernels with a padding of 1 and a stride of 2; x: [N, H, W, C].
    """

    def weight(part):
        return params[part]["kernel"].permute(3, 2, 0, 1)

    def own(part):
        return weight(part.replace("decode", "encode")) if tied else weight(part)

    x = x.permute(0, 3, 1, 2)
    a = F.relu(F.conv2d(x, weight("encode1"), params["encode1"]["bias"], 2, 1))
    b = F.relu(F.conv2d(a, weight("encode2"), params["encode2"]["bias"], 2, 1))
    flat = b.permute(0, 2, 3, 1).flatten(1)
    code = flat @ params["code"]["kernel"] + params["code"]["bias"]
    dense = params["code" if tied else "decode_code"]["kernel"]
    y = code @ dense.T
    y = y + params["decode_code"]["bias"]
    y = y.view(-1, *b.shape[2:], b.shape[1]).permute(0, 3, 1, 2)
    for part, like in (("decode2", a), ("decode1", x)):
        extra = [n - (2 * m - 1) for n, m in zip(like.shape[2:], y.shape[2:], strict=True)]
        y = F.conv_transpose2d(F.relu(y), own(part), params[part]["bias"], 2, 1, extra)
    return y.permute(0, 2, 3, 1)
