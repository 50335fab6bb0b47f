"""The recipe of configs/cifar10_94.toml in torch on the CPU, for its time and its accuracy.

python experiments/records/peer.py --seed 0 --out runs/peer0.jsonl    (--steps 12: only so many, for the time of a step)

The net, augmentation, optimizers and schedule are those of airbench94_muon (Jordan, 2024); they are written anew here.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jaxconv import data
from jaxconv.models import whitening_kernel

BATCH, EPOCHS, WHITEN_EPOCHS = 2000, 8, 3
MUON_RATE, BIAS_RATE, HEAD_RATE, DECAY = 0.24, 106.0, 1.656, 0.004  # decay of a step at the first learning rate
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Group(nn.Module):
    """Convolution, pool, norm, GELU, convolution, norm, GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class Net(nn.Module):
    """airbench94."""

    def __init__(self, kernel: np.ndarray) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.data = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        self.whiten.weight.requires_grad = False
        self.groups = nn.Sequential(Group(24, 64), Group(64, 256), Group(256, 256))
        self.head = nn.Linear(256, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.groups(functional.gelu(self.whiten(x)))
        return self.head(x.amax((2, 3))) / 9


def orthogonal(gradient: torch.Tensor) -> torch.Tensor:
    """Three steps of Newton and Schulz toward the nearest orthogonal matrix of [outputs, the rest]."""
    x = gradient.reshape(len(gradient), -1)
    x = x / (x.norm() + 1e-8)
    for _ in range(3):
        square = x @ x.T
        first, second, third = NEWTON_SCHULZ
        x = first * x + (second * square + third * square @ square) @ x
    return x.view_as(gradient)


class Muon:
    """Muon with Nesterov momentum for kernels whose norm is kept."""

    def __init__(self, kernels: list[nn.Parameter]) -> None:
        self.kernels, self.momenta = kernels, [torch.zeros_like(kernel) for kernel in kernels]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for kernel, momentum in zip(self.kernels, self.momenta, strict=True):
            gradient = kernel.grad
            assert gradient is not None
            momentum.mul_(0.6).add_(gradient)
            kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
            kernel.sub_(orthogonal(gradient + 0.6 * momentum), alpha=rate)


def augmented(images: torch.Tensor, index: torch.Tensor, epoch: int, first: torch.Tensor) -> torch.Tensor:
    """Alternating flips, and shifts by up to two pixels into a reflected border."""
    flipped = first[index] ^ bool(epoch % 2)
    x = torch.where(flipped[:, None, None, None], images[index].flip(3), images[index])
    wide = functional.pad(x, (2, 2, 2, 2), "reflect")
    down, right = torch.randint(0, 5, (2, len(index)))
    rows, columns = (corner[:, None] + torch.arange(32) for corner in (down, right))
    each = torch.arange(len(index))[:, None, None]
    return wide.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(net: Net, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Of the mean over mirror images and shifts by a pixel, weighted as by [tta] of the config."""
    net.eval()
    right = 0
    for x, y in zip(images.split(500), labels.split(500), strict=True):
        wide = functional.pad(x, (1, 1, 1, 1), "reflect")
        views = [(x, 2), (wide[..., :32, :32], 1), (wide[..., 2:, 2:], 1)]
        logits = sum(share * (net(view) + net(view.flip(3))) for view, share in views)
        right += int((logits.argmax(1) == y).sum())
    net.train()
    return right / len(labels)


def main() -> None:
    """Train, and write a line for each five steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=EPOCHS * 50_000 // BATCH)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    cifar = data.load("cifar10")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (cifar.mean, cifar.std))

    def prepared(images: np.ndarray) -> torch.Tensor:
        scaled = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - mean) / std
        return scaled.to(memory_format=torch.channels_last)

    images, labels = prepared(cifar.train.images), torch.from_numpy(cifar.train.labels).long()
    kernel = whitening_kernel(jax.device_get(images[:5000].permute(0, 2, 3, 1).numpy()))
    net = Net(np.asarray(kernel)).to(memory_format=torch.channels_last)
    muon = Muon([p for name, p in net.named_parameters() if "conv" in name])
    biases = [p for name, p in net.named_parameters() if "norm" in name and p.requires_grad]
    rest = [([net.whiten.bias], BIAS_RATE), (biases, BIAS_RATE), ([net.head.weight], HEAD_RATE)]
    groups = [{"params": params, "lr": rate, "weight_decay": DECAY / rate} for params, rate in rest]
    sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True)

    first = torch.rand(len(images)) < 0.5
    each = len(images) // BATCH
    began, lines = time.perf_counter(), []
    right = 0
    for step in range(args.steps):
        if step % each == 0:
            order = torch.randperm(len(images))
        index = order[step % each * BATCH :][:BATCH]
        logits = net(augmented(images, index, step // each, first))
        loss = functional.cross_entropy(logits, labels[index], label_smoothing=0.2)
        net.zero_grad(set_to_none=True)
        loss.backward()
        left = 1 - step / (EPOCHS * each)
        sgd.param_groups[0]["lr"] = BIAS_RATE * max(0.0, 1 - step / (WHITEN_EPOCHS * each))
        for group, (_, rate) in zip(sgd.param_groups[1:], rest[1:], strict=True):
            group["lr"] = rate * left
        sgd.step()
        muon.step(MUON_RATE * left)
        right += int((logits.argmax(1) == labels[index]).sum())
        if step % 5 == 4:
            seconds = time.perf_counter() - began
            lines.append({"step": step + 1, "loss": loss.item(), "accuracy": right / 5 / BATCH, "seconds": seconds})
            print(json.dumps(lines[-1]), flush=True)
            right = 0
    if args.steps == EPOCHS * each:
        found = accuracy(net, prepared(cifar.test.images), torch.from_numpy(cifar.test.labels).long())
        lines.append({"step": args.steps, "test_accuracy": found, "seconds": time.perf_counter() - began})
        print(json.dumps(lines[-1]))
    args.out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
