"""The ResNets of CIFAR-10 and wide ResNets in torch, from He et al. 2015 (section 4.2) and Zagoruyko 2016."""

from collections import OrderedDict

import torch
from models.torch_nets.resnet import Basic, conv
from torch import nn


class OptionA(nn.Module):
    """Every second pixel, and maps of zeros behind those there are."""

    def forward(self, x):
        x = x[:, :, 0::2, 0::2]
        return torch.cat([x, torch.zeros_like(x)], 1)


def resnet_cifar(depth, classes=10, *, width=16, shortcut="A", channels=3):
    stem = nn.Sequential(OrderedDict(conv=conv(channels, width, 3), bn=nn.BatchNorm2d(width), relu=nn.ReLU()))
    net, seen = OrderedDict(stem=stem), width
    for stage in range(3):
        rows = []
        for place in range((depth - 2) // 6):
            planes, halves = width << stage, stage > 0 and place == 0
            option_b = nn.Sequential(conv(seen, planes, 1, 2), nn.BatchNorm2d(planes))
            rows += [Basic(seen, planes, 1 + halves, {"A": OptionA(), "B": option_b}[shortcut] if halves else None)]
            seen = planes
        net[f"stage{stage + 1}"] = nn.Sequential(*rows)
    net |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "head": nn.Linear(seen, classes)}
    return nn.Sequential(net)


class Wide(nn.Module):
    """Norm, ReLU, convolution, twice; the 1×1 shortcut after the first norm and ReLU."""

    def __init__(self, seen, planes, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(seen), conv(seen, planes, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(planes), conv(planes, planes, 3)
        if seen != planes:
            self.shortcut = conv(seen, planes, 1, stride)

    def forward(self, x):
        start = self.bn1(x).relu()
        short = self.shortcut(start) if hasattr(self, "shortcut") else x
        return short + self.conv2(self.bn2(self.conv1(start)).relu())


def wide_resnet(depth, width, classes=10, *, channels=3):
    net, seen = OrderedDict(stem=conv(channels, 16, 3)), 16
    for stage in range(3):
        planes = (16 << stage) * width
        rows = [Wide(seen, planes, 2 if stage else 1)]
        rows += [Wide(planes, planes, 1) for _ in range((depth - 4) // 6 - 1)]
        net[f"stage{stage + 1}"], seen = nn.Sequential(*rows), planes
    net |= {"bn": nn.BatchNorm2d(seen), "relu": nn.ReLU(), "avgpool": nn.AdaptiveAvgPool2d(1)}
    net |= {"flatten": nn.Flatten(), "head": nn.Linear(seen, classes)}
    return nn.Sequential(net)
