"""LeNet-5 in torch, from LeCun et al. 1998, with the paper's names of layers."""

from collections import OrderedDict

import torch
from torch import nn

# Table I: an X where map (column) of C3 sees map (row) of S2.
TABLE = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


class Squash(nn.Module):
    def forward(self, x):
        return 1.7159 * torch.tanh(x * 2 / 3)


class Sparse(nn.Conv2d):
    """A convolution whose maps see only those of the table."""

    def forward(self, x):
        rows = [[float(mark == "X") for mark in row] for row in TABLE.split()]
        return self._conv_forward(x, self.weight * torch.tensor(rows).T[:, :, None, None], self.bias)


def lenet5(classes=10, *, original=False, act=nn.Tanh, pool=nn.AvgPool2d, channels=1, flat=400):
    def subsample(maps):
        if not original:
            return pool(2)
        gain = nn.Conv2d(maps, maps, 1, groups=maps)
        return nn.Sequential(OrderedDict(pool=nn.AvgPool2d(2), gain=gain, squash=Squash()))

    act = Squash if original else act
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(channels, 6, 5, padding=2), act1=act(), s2=subsample(6),
            c3=(Sparse if original else nn.Conv2d)(6, 16, 5), act3=act(), s4=subsample(16),
            flatten=nn.Flatten(), c5=nn.Linear(flat, 120), act5=act(), f6=nn.Linear(120, 84), act6=act(),
            output=nn.Linear(84, classes),
        )
    )  # fmt: skip
