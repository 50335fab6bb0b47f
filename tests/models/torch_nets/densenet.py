"""DenseNet-BC in torch, from Huang et al. 2016, with torchvision's names of modules."""

from collections import OrderedDict

import torch
from torch import nn


def conv(seen, made, size, stride=1):
    return nn.Conv2d(seen, made, size, stride=stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """H_l of the maps of all layers before it, [x_0, x_1, …, x_{l-1}], side by side."""

    def __init__(self, seen, count, growth):
        super().__init__()
        for n in range(1, count + 1):
            layer = OrderedDict(
                norm1=nn.BatchNorm2d(seen), relu1=nn.ReLU(), conv1=conv(seen, 4 * growth, 1),
                norm2=nn.BatchNorm2d(4 * growth), relu2=nn.ReLU(), conv2=conv(4 * growth, growth, 3),
            )  # fmt: skip
            self.add_module(f"denselayer{n}", nn.Sequential(layer))
            seen += growth

    def forward(self, x):
        made = [x]
        for layer in self.children():
            made.append(layer(torch.cat(made, 1)))
        return torch.cat(made, 1)


def densenet(classes=1000, *, blocks, growth, stem, channels=3):
    body, seen = OrderedDict(conv0=conv(channels, stem, 7, 2), norm0=nn.BatchNorm2d(stem)), stem
    body |= {"relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, 2, 1)}
    for n, count in enumerate(blocks, 1):
        body[f"denseblock{n}"] = Block(seen, count, growth)
        seen += count * growth
        if n < len(blocks):
            transition = OrderedDict(norm=nn.BatchNorm2d(seen), relu=nn.ReLU(), conv=conv(seen, seen // 2, 1))
            body[f"transition{n}"] = nn.Sequential(OrderedDict(transition, pool=nn.AvgPool2d(2, 2)))
            seen //= 2
    body["norm5"] = nn.BatchNorm2d(seen)
    net = OrderedDict(features=nn.Sequential(body), relu=nn.ReLU(), avgpool=nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(OrderedDict(net, flatten=nn.Flatten(), classifier=nn.Linear(seen, classes)))
