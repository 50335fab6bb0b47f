"""The same nets, data, optimizer and schedule in torch, for comparison of total training time."""

from __future__ import annotations

import math
import time

import numpy as np

from jaxconv import data
from jaxconv.run import config


def train_torch(settings: config.Config) -> dict[str, float]:
    """Train a config of this folder in torch.

    Args:
      settings: `base.toml` with a row's changes.

    Returns:
      accuracy on the test images, by vote for an ensemble, and seconds from the loaded data to it.
    """
    import torch

    torch.manual_seed(settings.train.seed)
    torch.set_num_threads(2)
    dataset = data.load(settings.data.name, settings.data.root)
    kept = len(dataset.train) - settings.data.validation
    images, labels = (torch.tensor(part[:kept]) for part in (dataset.train.images, dataset.train.labels))
    x_test, y_test = torch.tensor(dataset.test.images), torch.tensor(dataset.test.labels)
    began = time.perf_counter()
    votes = np.zeros([len(y_test), 10])
    for number in range(settings.ensemble.size):
        net = _train_one(settings, images, labels, dataset.mean[0], dataset.std[0], settings.train.seed + number)
        with torch.no_grad():
            parts = torch.split(_prepare(x_test, dataset.mean[0], dataset.std[0]), 500)
            logits = torch.cat([net(part) for part in parts])
        votes += np.eye(10)[logits.argmax(1).numpy()] + 1e-3 * logits.softmax(1).numpy()
    right = float((votes.argmax(1) == y_test.numpy()).mean())
    return {"accuracy": right, "seconds": time.perf_counter() - began}


def _prepare(images, mean, std):
    return (images.permute(0, 3, 1, 2).float() - mean) / std


def _expand(images, generator):
    """Each image as it is, or one of its four one-pixel shifts."""
    import torch

    moves = np.array([(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)])
    corner = torch.from_numpy(moves[generator.integers(0, 5, len(images))])
    padded = torch.nn.functional.pad(images[..., 0], (1, 1, 1, 1))
    down, right = corner[:, 0, None, None] + torch.arange(28)[:, None], corner[:, 1, None, None] + torch.arange(28)
    return padded[torch.arange(len(images))[:, None, None], down, right][..., None]


def _rotate(images, generator, degrees):
    """Each image turned by up to so many degrees, either way."""
    import torch

    turn = torch.from_numpy(np.deg2rad(generator.uniform(-degrees, degrees, len(images)))).float()
    zero = torch.zeros_like(turn)
    matrix = torch.stack([turn.cos(), -turn.sin(), zero, turn.sin(), turn.cos(), zero], -1).reshape(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(matrix, [len(images), 1, 28, 28], align_corners=False)
    turned = torch.nn.functional.grid_sample(images.permute(0, 3, 1, 2).float(), grid, align_corners=False)
    return turned.permute(0, 2, 3, 1)


def _train_one(settings, images, labels, mean, std, seed):
    import torch
    from torch import nn

    arguments, train = settings.net.arguments, settings.train
    act = nn.Sigmoid if arguments["activation"] == "sigmoid" else nn.ReLU
    layers, channels, side = [], 1, 28
    for features in arguments["features"]:
        layers += [nn.Conv2d(channels, features, arguments["kernel_size"]), nn.MaxPool2d(2), act()]
        channels, side = features, (side - arguments["kernel_size"] + 1) // 2
    layers += [nn.Flatten()]
    units = channels * side * side
    for hidden in arguments["hidden"]:
        layers += [nn.Linear(units, hidden), act()]
        layers += [nn.Dropout(arguments["dropout"])] if arguments["dropout"] else []
        units = hidden
    net = nn.Sequential(*layers, nn.Linear(units, 10))
    steps = math.ceil(train.epochs * len(labels) / train.batch_size)
    decay = settings.optim.arguments.get("weight_decay", 0.0)
    kernels = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": kernels, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    tx = torch.optim.AdamW(groups, lr=settings.optim.learning_rate)
    warm = steps // 10
    rate = torch.optim.lr_scheduler.LambdaLR(
        tx, lambda i: i / warm if i < warm else 0.5 * (1 + math.cos(math.pi * (i - warm) / (steps - warm)))
    )
    generator = np.random.default_rng([seed, 1])
    order = np.concatenate([generator.permutation(len(labels)) for _ in range(math.ceil(train.epochs))])
    net.train()
    for step in range(steps):
        chosen = torch.from_numpy(order[step * train.batch_size : (step + 1) * train.batch_size])
        batch, answers = images[chosen], labels[chosen].long()
        batch = _expand(batch, generator) if "expand" in settings.augment else batch
        batch = _rotate(batch, generator, settings.augment["rotate"]) if "rotate" in settings.augment else batch
        loss = nn.functional.cross_entropy(
            net(_prepare(batch, mean, std)), answers, label_smoothing=train.label_smoothing
        )
        tx.zero_grad()
        loss.backward()
        tx.step()
        rate.step()
    net.eval()
    return net
