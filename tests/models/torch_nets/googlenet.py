"""GoogLeNet and Inception v3 in torch, written from the papers; parts named as torchvision names them."""

import torch
from torch import nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    def __init__(self, c_in, c_out, size, **geometry):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, size, bias=False, **geometry)
        self.bn = nn.BatchNorm2d(c_out, 1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Module(nn.Module):
    """Four ways side by side."""

    def __init__(self, c_in, one, in3, out3, in5, out5, pooled):
        super().__init__()
        self.branch1 = ConvNorm(c_in, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(c_in, in3, 1), ConvNorm(in3, out3, 3, padding=1))
        self.branch3 = nn.Sequential(ConvNorm(c_in, in5, 1), ConvNorm(in5, out5, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(c_in, pooled, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """stages: {"3": {"a": (c_in, *maps), …}, …}."""

    def __init__(self, stages, last, classes):
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(3, 64, 7, stride=2, padding=3), ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3, padding=1)
        self.order = []
        for stage, modules in stages.items():
            self.order.append([f"inception{stage}{letter}" for letter in modules])
            for letter, maps in modules.items():
                self.add_module(f"inception{stage}{letter}", Module(*maps))
        self.dropout, self.fc = nn.Dropout(0.2), nn.Linear(last, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        for i, names in enumerate(self.order):
            if i:
                x = F.max_pool2d(x, 3 if i == 1 else 2, 2, ceil_mode=True)
            for name in names:
                x = getattr(self, name)(x)
        return self.fc(self.dropout(x.mean((2, 3))))


def mean3(x):
    return F.avg_pool2d(x, 3, 1, 1)


class Ways(nn.Module):
    """A module of named convolutions; `run(parts, x)` lists what is put side by side."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return torch.cat(self.run(self, x), 1)


def mixed_5(c, pool):
    def run(m, x):
        double = m.branch3x3dbl_3(m.branch3x3dbl_2(m.branch3x3dbl_1(x)))
        return [m.branch1x1(x), m.branch5x5_2(m.branch5x5_1(x)), double, m.branch_pool(mean3(x))]

    return Ways(
        run,
        branch1x1=ConvNorm(c, 64, 1), branch5x5_1=ConvNorm(c, 48, 1), branch5x5_2=ConvNorm(48, 64, 5, padding=2),
        branch3x3dbl_1=ConvNorm(c, 64, 1), branch3x3dbl_2=ConvNorm(64, 96, 3, padding=1),
        branch3x3dbl_3=ConvNorm(96, 96, 3, padding=1), branch_pool=ConvNorm(c, pool, 1),
    )  # fmt: skip


def mixed_6a(c):
    def run(m, x):
        double = m.branch3x3dbl_3(m.branch3x3dbl_2(m.branch3x3dbl_1(x)))
        return [m.branch3x3(x), double, F.max_pool2d(x, 3, 2)]

    return Ways(
        run,
        branch3x3=ConvNorm(c, 384, 3, stride=2), branch3x3dbl_1=ConvNorm(c, 64, 1),
        branch3x3dbl_2=ConvNorm(64, 96, 3, padding=1), branch3x3dbl_3=ConvNorm(96, 96, 3, stride=2),
    )  # fmt: skip


def across(a, b):
    return ConvNorm(a, b, (1, 7), padding=(0, 3))


def down(a, b):
    return ConvNorm(a, b, (7, 1), padding=(3, 0))


def mixed_6(c, n):
    def run(m, x):
        single = m.branch7x7_3(m.branch7x7_2(m.branch7x7_1(x)))
        double = m.branch7x7dbl_3(m.branch7x7dbl_2(m.branch7x7dbl_1(x)))
        double = m.branch7x7dbl_5(m.branch7x7dbl_4(double))
        return [m.branch1x1(x), single, double, m.branch_pool(mean3(x))]

    return Ways(
        run,
        branch1x1=ConvNorm(c, 192, 1), branch7x7_1=ConvNorm(c, n, 1), branch7x7_2=across(n, n),
        branch7x7_3=down(n, 192), branch7x7dbl_1=ConvNorm(c, n, 1), branch7x7dbl_2=down(n, n),
        branch7x7dbl_3=across(n, n), branch7x7dbl_4=down(n, n), branch7x7dbl_5=across(n, 192),
        branch_pool=ConvNorm(c, 192, 1),
    )  # fmt: skip


def mixed_7a(c):
    def run(m, x):
        seven = m.branch7x7x3_4(m.branch7x7x3_3(m.branch7x7x3_2(m.branch7x7x3_1(x))))
        return [m.branch3x3_2(m.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)]

    return Ways(
        run,
        branch3x3_1=ConvNorm(c, 192, 1), branch3x3_2=ConvNorm(192, 320, 3, stride=2),
        branch7x7x3_1=ConvNorm(c, 192, 1), branch7x7x3_2=across(192, 192), branch7x7x3_3=down(192, 192),
        branch7x7x3_4=ConvNorm(192, 192, 3, stride=2),
    )  # fmt: skip


def mixed_7(c):
    def run(m, x):
        one, two = m.branch3x3_1(x), m.branch3x3dbl_2(m.branch3x3dbl_1(x))
        single = [m.branch3x3_2a(one), m.branch3x3_2b(one)]
        return [m.branch1x1(x), *single, m.branch3x3dbl_3a(two), m.branch3x3dbl_3b(two), m.branch_pool(mean3(x))]

    def pair(a, end):
        wide, high = ConvNorm(a, 384, (1, 3), padding=(0, 1)), ConvNorm(a, 384, (3, 1), padding=(1, 0))
        return {f"{end}a": wide, f"{end}b": high}

    return Ways(
        run,
        branch1x1=ConvNorm(c, 320, 1), branch3x3_1=ConvNorm(c, 384, 1), **pair(384, "branch3x3_2"),
        branch3x3dbl_1=ConvNorm(c, 448, 1), branch3x3dbl_2=ConvNorm(448, 384, 3, padding=1),
        **pair(384, "branch3x3dbl_3"), branch_pool=ConvNorm(c, 192, 1),
    )  # fmt: skip


class InceptionV3(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = ConvNorm(3, 32, 3, stride=2), ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = ConvNorm(32, 64, 3, padding=1), ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = mixed_5(192, 32), mixed_5(256, 64), mixed_5(288, 64)
        self.Mixed_6a, self.Mixed_6b, self.Mixed_6c = mixed_6a(288), mixed_6(768, 128), mixed_6(768, 160)
        self.Mixed_6d, self.Mixed_6e = mixed_6(768, 160), mixed_6(768, 192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = mixed_7a(768), mixed_7(1280), mixed_7(2048)
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(2048, classes)

    def forward(self, x):
        x = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return self.fc(self.dropout(x.mean((2, 3))))
