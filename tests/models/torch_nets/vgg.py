"""VGG in torch, from table 1 of Simonyan and Zisserman 2014, with torchvision's names of modules."""

from collections import OrderedDict

from torch import nn

COLUMNS = {  # features of each 3×3 convolution; M is a pool
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def vgg(column, classes=1000, *, batch_norm, narrow=1, hidden=4096, channels=3):
    body, seen = [], channels
    for word in COLUMNS[column].split():
        if word == "M":
            body += [nn.MaxPool2d(2, 2)]
            continue
        made = int(word) // narrow
        body += [nn.Conv2d(seen, made, 3, padding=1), *([nn.BatchNorm2d(made)] if batch_norm else []), nn.ReLU()]
        seen = made
    head = [nn.Linear(49 * seen, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
    net = {"features": nn.Sequential(*body), "avgpool": nn.AdaptiveAvgPool2d(7), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(net, classifier=nn.Sequential(*head, nn.Linear(hidden, classes))))
