"""ConvNeXt in torch, written from the paper; parts named as torchvision names them."""

import torch
from torch import nn


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of [N, C, H, W]."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Turn(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        rows = [nn.Conv2d(c, c, 7, padding=3, groups=c), Turn(0, 2, 3, 1), nn.LayerNorm(c, 1e-6)]
        rows += [nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c), Turn(0, 3, 1, 2)]
        self.block = nn.Sequential(*rows)
        self.layer_scale = nn.Parameter(torch.full((c, 1, 1), 1e-6))

    def forward(self, x):
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    def __init__(self, widths, depths, classes):
        super().__init__()
        rows = [nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], 1e-6))]
        for i, (c, n) in enumerate(zip(widths, depths, strict=True)):
            if i:
                rows.append(nn.Sequential(ChannelNorm(widths[i - 1], 1e-6), nn.Conv2d(widths[i - 1], c, 2, 2)))
            rows.append(nn.Sequential(*(Block(c) for _ in range(n))))
        self.features = nn.Sequential(*rows)
        last = widths[-1]
        self.classifier = nn.Sequential(ChannelNorm(last, 1e-6), nn.Flatten(1), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3), keepdim=True))
