"""ResNet, ResNeXt and wide ResNet in torch, from the papers, with torchvision's names of modules."""

from collections import OrderedDict

from torch import nn


def conv(seen, made, size, stride=1, groups=1):
    return nn.Conv2d(seen, made, size, stride=stride, padding=(size - 1) // 2, groups=groups, bias=False)


class Basic(nn.Module):
    """He et al. 2015, figure 5 left: two 3×3."""

    def __init__(self, seen, planes, stride, shortcut):
        super().__init__()
        self.conv1, self.bn1 = conv(seen, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = shortcut

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if self.downsample else x)).relu()


class Bottleneck(nn.Module):
    """Figure 5 right: 1×1, 3×3, 1×1; the stride on the 3×3."""

    def __init__(self, seen, planes, inner, stride, groups, shortcut):
        super().__init__()
        self.conv1, self.bn1 = conv(seen, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.downsample = shortcut

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x)).relu()


def resnet(classes=1000, *, blocks, bottleneck, width=64, groups=1, width_per_group=64, channels=3):
    net = OrderedDict(
        conv1=conv(channels, width, 7, 2), bn1=nn.BatchNorm2d(width), relu=nn.ReLU(), maxpool=nn.MaxPool2d(3, 2, 1)
    )
    seen = width
    for stage, count in enumerate(blocks):
        rows = []
        for place in range(count):
            planes, stride = width << stage, 2 if stage and not place else 1
            out = 4 * planes if bottleneck else planes
            changes = stride == 2 or seen != out
            shortcut = nn.Sequential(conv(seen, out, 1, stride), nn.BatchNorm2d(out)) if changes else None
            if bottleneck:
                rows += [Bottleneck(seen, planes, planes * width_per_group // 64 * groups, stride, groups, shortcut)]
            else:
                rows += [Basic(seen, planes, stride, shortcut)]
            seen = out
        net[f"layer{stage + 1}"] = nn.Sequential(*rows)
    net |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(seen, classes)}
    return nn.Sequential(net)
