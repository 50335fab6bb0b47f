"""Segmentation nets in torch, from the papers, on a small ResNet; parts named as ours, torchvision's where it has them.

`Maps` is what all of them stand on: the output of each stage of `torch_nets.resnet`.
"""

import torch
from models.torch_nets.resnet import resnet
from torch import nn
from torch.nn import functional as F


class Maps(nn.Module):
    """conv1 to layer3 of a ResNet with basic blocks: maps at strides 2, 4, 8 and 16 of 8, 8, 16 and 32 channels."""

    def __init__(self):
        super().__init__()
        for name, part in resnet(blocks=(1, 1, 1), bottleneck=False, width=8).named_children():
            if name not in ("avgpool", "flatten", "fc"):
                self.add_module(name, part)

    def forward(self, x):
        x = (self.bn1(self.conv1(x))).relu()
        found = [x]
        x = self.maxpool(x)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            found.append(x)
        return found


def unit(c_in, c_out, size=3, *more):
    conv = nn.Conv2d(c_in, c_out, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU(), *more)


def resized(x, like, mode="bilinear"):
    options = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(x, like.shape[-2:], mode=mode, **options)


class Segmenter(nn.Module):
    """backbone, classifier of its maps, and logits of the image's size."""

    def __init__(self, classifier):
        super().__init__()
        self.backbone, self.classifier = Maps(), classifier

    def forward(self, x):
        return resized(self.classifier(self.backbone(x)), x)


class Means(nn.Sequential):
    """ASPP's image-level features: the mean of each map, again at every pixel."""

    def __init__(self, c_in, c_out):
        conv = nn.Conv2d(c_in, c_out, 1, bias=False)
        super().__init__(nn.AdaptiveAvgPool2d(1), conv, nn.BatchNorm2d(c_out), nn.ReLU())

    def forward(self, x):
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


class ASPP(nn.Module):
    """Chen et al. 2017, figure 5."""

    def __init__(self, c_in, c_out, rates):
        super().__init__()
        holes = []
        for rate in rates:
            conv = nn.Conv2d(c_in, c_out, 3, padding=rate, dilation=rate, bias=False)
            holes.append(nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU()))
        self.convs = nn.ModuleList([unit(c_in, c_out, 1), *holes, Means(c_in, c_out)])
        self.project = unit(c_out * len(self.convs), c_out, 1)

    def forward(self, x):
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))


class DeepLabV3PlusHead(nn.Module):
    """Chen et al. 2018, figure 2: the decoder."""

    def __init__(self, classes, low, high, width, skip, rates):
        super().__init__()
        self.aspp, self.skip = ASPP(high, width, rates), unit(low, skip, 1)
        self.fuse = nn.ModuleDict({"conv0": unit(width + skip, width), "conv1": unit(width, width)})
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, maps):
        _, low, *_, high = maps
        x = torch.cat([resized(self.aspp(high), low), self.skip(low)], 1)
        return self.head(self.fuse["conv1"](self.fuse["conv0"](x)))


class PSPHead(nn.Module):
    """Zhao et al. 2017, figure 3."""

    def __init__(self, classes, c_in, width, sizes):
        super().__init__()
        inner = c_in // len(sizes)
        pools = [nn.Sequential(nn.AdaptiveAvgPool2d(m), *unit(c_in, inner, 1)) for m in sizes]
        self.ppm, self.fuse = nn.ModuleList(pools), unit(c_in + inner * len(sizes), width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, maps):
        x = maps[-1]
        return self.head(self.fuse(torch.cat([x, *(resized(pool(x), x) for pool in self.ppm)], 1)))


class Pyramid(nn.Module):
    """Lin et al. 2017, figure 3."""

    def __init__(self, channels, width):
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(c, width, 1)) for c in channels)
        self.layer_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for _ in channels)

    def forward(self, maps):
        laterals = [block(x) for block, x in zip(self.inner_blocks, maps, strict=True)]
        for level in range(len(maps) - 2, -1, -1):
            laterals[level] = laterals[level] + resized(laterals[level + 1], laterals[level], "nearest")
        return [block(x) for block, x in zip(self.layer_blocks, laterals, strict=True)]


class FPNHead(nn.Module):
    """Kirillov et al. 2019, figure 3: each level is doubled until it is as large as the first."""

    def __init__(self, classes, channels, width, head, groups):
        super().__init__()
        self.fpn, self.head, self.levels = Pyramid(channels, width), nn.Conv2d(head, classes, 1), len(channels)
        for level in range(self.levels):
            for step in range(max(level, 1)):
                conv = nn.Conv2d(head if step else width, head, 3, padding=1, bias=False)
                self.add_module(f"scale{level}_{step}", nn.Sequential(conv, nn.GroupNorm(groups, head), nn.ReLU()))

    def forward(self, maps):
        maps = self.fpn(maps)
        y = self.scale0_0(maps[0])
        for level, x in enumerate(maps[1:], 1):
            for step in range(level):
                x = resized(getattr(self, f"scale{level}_{step}")(x), maps[level - 1 - step])
            y = y + x
        return self.head(y)


class EncoderUNet(nn.Module):
    """Four doublings above the stages, with their maps joined at strides 8, 4 and 2."""

    def __init__(self, classes, width):
        super().__init__()
        self.backbone, below = Maps(), 32
        for n, skip in ((4, 16), (3, 8), (2, 8), (1, 0)):
            made = width * 2 ** (n - 1)
            self.add_module(f"up{n}", nn.ConvTranspose2d(below, made, 2, 2))
            convs = {
                "conv0": nn.Conv2d(made + skip, made, 3, padding=1, bias=False),
                "batch_norm0": nn.BatchNorm2d(made),
            }
            convs |= {"conv1": nn.Conv2d(made, made, 3, padding=1, bias=False), "batch_norm1": nn.BatchNorm2d(made)}
            self.add_module(f"expand{n}", nn.ModuleDict(convs))
            below = made
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image):
        *maps, x = self.backbone(image)
        for n, like in zip((4, 3, 2, 1), (*maps[::-1], image), strict=True):
            x = getattr(self, f"up{n}")(x)[..., : like.shape[-2], : like.shape[-1]]
            x = torch.cat([like, x], 1) if n > 1 else x
            expand = getattr(self, f"expand{n}")
            x = expand["batch_norm0"](expand["conv0"](x)).relu()
            x = expand["batch_norm1"](expand["conv1"](x)).relu()
        return self.head(x)
