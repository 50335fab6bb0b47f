"""MobileNetV2, MobileNetV3 and EfficientNet in torch, written from the papers; parts named as torchvision names them.

Channels are spelled out block by block, so that the arithmetic of widths is not that of the nets under test.
"""

import torch
from torch import nn


class ConvNorm(nn.Sequential):
    """Convolution "0", norm "1", and the activation."""

    def __init__(self, c_in, c_out, size, stride=1, groups=1, act=None, eps=1e-5, momentum=0.1):
        conv = nn.Conv2d(c_in, c_out, size, stride, (size - 1) // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(c_out, eps, momentum), *([act] if act else []))


class HardSigmoid(nn.Module):
    """relu6(x + 3) / 6; torch's own takes a sixth in float32 in its gradient, whatever the type."""

    def forward(self, x):
        return nn.functional.relu6(x + 3) / 6


class HardSwish(nn.Module):
    """x relu6(x + 3) / 6, see above."""

    def forward(self, x):
        return x * nn.functional.relu6(x + 3) / 6


class Excite(nn.Module):
    """x times sigma(fc2(delta(fc1(mean of x))))."""

    def __init__(self, channels, squeezed, act, gate):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = act, gate

    def forward(self, x):
        means = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.fc2(self.act(self.fc1(means))))


class Block(nn.Module):
    """A sequence under one name, and its input added where it may be."""

    def __init__(self, name, layers, adds):
        super().__init__()
        self.name, self.adds = name, adds
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        y = getattr(self, self.name)(x)
        return x + y if self.adds else y


class Classifier(nn.Module):
    """features, the mean of each map, classifier."""

    def __init__(self, features, classifier):
        super().__init__()
        self.features, self.classifier = nn.Sequential(*features), nn.Sequential(*classifier)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def v2_block(c_in, hidden, c_out, stride):
    act = nn.ReLU6()
    layers = [ConvNorm(c_in, hidden, 1, act=act)] if hidden != c_in else []
    layers += [ConvNorm(hidden, hidden, 3, stride, hidden, act)]
    layers += [nn.Conv2d(hidden, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
    return Block("conv", layers, stride == 1 and c_in == c_out)


def mobilenet_v2(stem, blocks, last, classes):
    """stem: maps; blocks: (c_in, hidden, c_out, stride) of each."""
    features = [ConvNorm(3, stem, 3, 2, act=nn.ReLU6()), *(v2_block(*block) for block in blocks)]
    features += [ConvNorm(blocks[-1][2], last, 1, act=nn.ReLU6())]
    return Classifier(features, [nn.Dropout(0.2), nn.Linear(last, classes)])


V3 = {"eps": 1e-3, "momentum": 0.01}


def v3_block(c_in, size, hidden, c_out, squeezed, act, stride):
    """squeezed: units of the squeeze, 0 for none."""
    layers = [ConvNorm(c_in, hidden, 1, act=act, **V3)] if hidden != c_in else []
    layers += [ConvNorm(hidden, hidden, size, stride, hidden, act, **V3)]
    layers += [Excite(hidden, squeezed, nn.ReLU(), HardSigmoid())] if squeezed else []
    layers += [ConvNorm(hidden, c_out, 1, **V3)]
    return Block("block", layers, stride == 1 and c_in == c_out)


def mobilenet_v3(stem, blocks, wide, last, classes):
    features = [ConvNorm(3, stem, 3, 2, act=HardSwish(), **V3), *(v3_block(*block) for block in blocks)]
    features += [ConvNorm(blocks[-1][3], wide, 1, act=HardSwish(), **V3)]
    return Classifier(features, [nn.Linear(wide, last), HardSwish(), nn.Dropout(0.2), nn.Linear(last, classes)])


def mb_block(c_in, size, hidden, c_out, squeezed, stride, norm):
    act = nn.SiLU()
    layers = [ConvNorm(c_in, hidden, 1, act=act, **norm)] if hidden != c_in else []
    layers += [ConvNorm(hidden, hidden, size, stride, hidden, act, **norm)]
    layers += [Excite(hidden, squeezed, act, nn.Sigmoid()), ConvNorm(hidden, c_out, 1, **norm)]
    return Block("block", layers, stride == 1 and c_in == c_out)


def efficientnet(stem, stages, last, classes, **norm):
    """stages: lists of (c_in, size, hidden, c_out, squeezed, stride)."""
    features = [ConvNorm(3, stem, 3, 2, act=nn.SiLU(), **norm)]
    features += [nn.Sequential(*(mb_block(*block, norm) for block in stage)) for stage in stages]
    features += [ConvNorm(stages[-1][-1][3], last, 1, act=nn.SiLU(), **norm)]
    return Classifier(features, [nn.Dropout(0.2), nn.Linear(last, classes)])


class RowDrop(nn.Module):
    """Stochastic depth of whole examples, with the draw handed in: None keeps all."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, y, kept):
        return y * torch.as_tensor(kept, dtype=y.dtype).view(-1, 1, 1, 1) / (1 - self.rate)
