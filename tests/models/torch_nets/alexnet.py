"""AlexNet in torch, the one tower of Krizhevsky 2014, with torchvision's names of modules."""

from collections import OrderedDict

from torch import nn


def alexnet(classes=1000, *, width=64, hidden=4096, channels=3):
    a, b, c, d, e = width, 3 * width, 6 * width, 4 * width, 4 * width
    body = nn.Sequential(
        nn.Conv2d(channels, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    head = nn.Sequential(
        nn.Dropout(), nn.Linear(36 * e, hidden), nn.ReLU(),
        nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, classes),
    )  # fmt: skip
    net = OrderedDict(features=body, avgpool=nn.AdaptiveAvgPool2d(6), flatten=nn.Flatten(), classifier=head)
    return nn.Sequential(net)
