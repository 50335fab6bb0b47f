# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Detect objects
#
# Configs do not support detection yet. This page builds a detector from the library's parts and trains it in
# less than a minute: *Objects as Points* (Zhou, Wang and Krähenbühl, 2019), also called CenterNet. A fully
# convolutional net predicts at each place of a coarse grid, for each class, whether an object has its center there, and
# the size of its box. No anchors and no non-maximum suppression: a detection is a local maximum, and max pooling finds
# those.
#
# ## Images and boxes
#
# The generated set `shapes` has exact masks; connected pixels of one class are an object, and its box is the smallest
# that contains them. Boxes of your own would come from a file.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from lesson import picture
from matplotlib.patches import Rectangle
from scipy import ndimage

import jaxconv as jc

data = jc.data.load("shapes", size=64, num_classes=4, train=2000, test=200, objects=2)
names = data.classes[1:]


def boxes_of(mask):
    """The objects of a mask [H, W]: class and box (top, left, bottom, right) in pixels, float [objects, 5]."""
    found = []
    for label in range(1, len(data.classes)):
        parts, _ = ndimage.label(mask == label)
        for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            if (parts == number).sum() >= 40:  # not the rest of a shape that another one covers
                found.append([label - 1, rows.start, columns.start, rows.stop, columns.stop])
    return np.array(found, float).reshape(-1, 5)


train, test = ([boxes_of(mask) for mask in part.labels.values] for part in (data.train, data.test))
print(f"{sum(map(len, train)):,} objects in {len(train):,} images for training: {', '.join(names)}")

# %% [markdown]
# ## Targets
#
# The grid has one cell for 4×4 pixels. A heatmap for each class is 1 at the center of an object and falls off as a
# Gaussian around it, since a box that is moved a little is nearly as good. At the center cell alone, four more numbers
# count: the center's place within its cell, and the height and width of the box, in cells.

# %%
STRIDE = 4
CELLS = 64 // STRIDE


def targets(boxes):
    """Heatmaps [CELLS, CELLS, classes], and [CELLS, CELLS, 5]: offset, size, and 1 where these count."""
    heat, box = np.zeros([CELLS, CELLS, len(names)], np.float32), np.zeros([CELLS, CELLS, 5], np.float32)
    grid = np.arange(CELLS)
    for label, top, left, bottom, right in boxes / [1, *[STRIDE] * 4]:
        y, x, height, width = (top + bottom) / 2, (left + right) / 2, bottom - top, right - left
        i, j = int(y), int(x)
        bump = np.exp(-(((grid - i)[:, None] / height) ** 2 + ((grid - j) / width) ** 2) * 18)
        heat[..., int(label)] = np.maximum(heat[..., int(label)], bump)
        box[i, j] = y - i, x - j, height, width, 1
    return heat, box


heats, boxes = (np.stack(arrays) for arrays in zip(*map(targets, train), strict=True))

# %% [markdown]
# ## The net
#
# Two convolutions of stride 2 downsample to the grid. The receptive field must cover a whole object, up to 38 pixels:
# a third convolution of stride 2 and a few residual blocks enlarge it, and `jc.Upsample` upsamples to the grid again.
# `jc.summary` says how large it is.


# %%
def conv(channels, stride=1):
    return jc.chain(jc.Conv(channels, 3, stride=stride, padding="same", bias=False), jc.BatchNorm(), jax.nn.relu)


def block(channels):
    return jc.residual(jc.chain(conv(channels), conv(channels)))


net = jc.chain(
    stem=jc.chain(conv(16, 2), conv(32, 2)),
    middle=jc.chain(conv(64, 2), block(64), block(64), jc.Upsample(scale=2, mode="linear"), conv(32)),
    head=jc.Conv(len(names) + 4, 1),
)
table = jc.summary(net, (1, 64, 64, 3))
print(f"{table.parameters:,} parameters, {table.macs:,} multiply-accumulates for each image;")
print(f"the receptive field of an output has {table.rows[-1].field[0].unclipped} pixels on each side")

# %% [markdown]
# ## Loss and training
#
# The focal loss of the paper: centers are few among many cells, so cells that are already right count little, and those
# close to a center count less than those far from it. Offsets and sizes have an absolute error.


# %%
def split(outputs):
    """Logits of the heatmaps, and offset and size."""
    return outputs[..., : len(names)], outputs[..., len(names) :]


def loss_of(outputs, heat, box):
    logits, found = split(outputs)
    p, positive = jax.nn.sigmoid(logits), heat == 1
    right = (1 - p) ** 2 * jax.nn.log_sigmoid(logits)
    wrong = (1 - heat) ** 4 * p**2 * jax.nn.log_sigmoid(-logits)
    error = jnp.abs(found - box[..., :4]) * box[..., 4:] * jnp.array([1, 1, 0.2, 0.2])
    return -(jnp.where(positive, right, wrong).sum() - error.sum()) / jnp.maximum(positive.sum(), 1)


params, state = net.init(jax.random.key(0), (1, 64, 64, 3))
params["head"]["bias"] = jnp.where(jnp.arange(len(names) + 4) < len(names), -4.0, 2.0)  # centers are rare
STEPS = 1000
tx = optax.adamw(optax.cosine_onecycle_schedule(STEPS, 5e-3))
moments = tx.init(params)


def prepare(images):
    return (images - jnp.array(data.mean)) / jnp.array(data.std)


@jax.jit
def step(params, state, moments, images, heat, box):
    def loss(params):
        outputs, new = net.apply(params, state, prepare(images), train=True)
        return loss_of(outputs, heat, box), new

    (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params)
    updates, moments = tx.update(grads, moments, params)
    return optax.apply_updates(params, updates), state, moments, value


rng = np.random.default_rng(0)
for i in range(STEPS):
    rows = rng.integers(len(heats), size=32)
    params, state, moments, value = step(params, state, moments, data.train.images[rows], heats[rows], boxes[rows])
    if i % 200 == 199:
        print(f"step {i + 1}: loss {value:.2f}")

# %% [markdown]
# ## From heatmaps to boxes
#
# A cell that equals the maximum of its 3×3 neighbourhood is a peak: `jc.max_pool` with stride 1. The best ten peaks of
# an image are its detections.


# %%
@jax.jit
def detect(params, state, images):
    """Classes, scores and boxes of the best ten peaks: [N, 10], [N, 10], [N, 10, 4] in pixels."""
    logits, found = split(net.apply(params, state, prepare(images))[0])
    p = jax.nn.sigmoid(logits)
    peaks = jnp.where(jc.max_pool(p, 3, stride=1, padding="same") == p, p, 0)
    scores, places = jax.lax.top_k(peaks.reshape(len(images), -1), 10)
    cells, labels = places // len(names), places % len(names)
    y, x, height, width = jnp.moveaxis(
        jnp.take_along_axis(found.reshape(len(images), -1, 4), cells[..., None], axis=1), -1, 0
    )
    y, x = y + cells // CELLS, x + cells % CELLS
    corners = jnp.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1)
    return labels, scores, STRIDE * corners


labels, scores, corners = map(np.asarray, detect(params, state, data.test.images))

# %% [markdown]
# Dashed: the box of an object. Solid: a detection with a score above 0.3.

# %%
figure, axes = plt.subplots(2, 4, figsize=(10, 5.4))
colors = ["#0072b2", "#e69f00", "#cc79a7"]  # for color-blind readers, too
for n, axis in enumerate(axes.ravel()):
    axis.imshow(data.test.images[n])
    axis.axis("off")
    kept = scores[n] > 0.3
    given = [(label, box, "--", "") for label, *box in test[n]]
    shown = zip(labels[n, kept], corners[n, kept], scores[n, kept], strict=True)
    for label, (top, left, bottom, right), line, text in [
        *given, *((label, box, "-", f"{names[label]} {score:.2f}") for label, box, score in shown)
    ]:  # fmt: skip
        edge = "white" if line == "--" else colors[int(label)]
        axis.add_patch(
            Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, ls=line, ec=edge, lw=1.5)
        )
        axis.text(left, top - 1.5, text, color="white", fontsize=7, backgroundcolor=edge if text else "none")
figure.tight_layout()
picture(figure, "Eight test images with the boxes of their objects, dashed, and those of the detector, solid")

# %% [markdown]
# ## Average precision
#
# A detection is right if its box overlaps an object of its class, not yet found, by half of their union. Sorted by
# score, precision and recall make a curve; the area under it, averaged over classes, is mAP at IoU 0.5.


# %%
def overlap(box, others):
    """Intersection over union of a box [4] with others [n, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), -1)
    area = np.prod(others[:, 2:] - others[:, :2], -1) + np.prod(box[2:] - box[:2])
    return common / (area - common)


def average_precision(label):
    objects = [boxes[boxes[:, 0] == label, 1:] for boxes in test]
    free = [np.ones(len(boxes), bool) for boxes in objects]
    ranked = sorted(((scores[n, k], n, k) for n, k in np.argwhere(labels == label)), reverse=True)
    right = []
    for _, n, k in ranked:
        ious = np.where(free[n], overlap(corners[n, k], objects[n]), 0)
        right.append(len(ious) > 0 and ious.max() >= 0.5)
        if right[-1]:
            free[n][ious.argmax()] = False
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * np.diff(hits, prepend=0)).sum() / sum(map(len, objects)))


found = [average_precision(label) for label in range(len(names))]
print(*(f"{name} {value:.3f}" for name, value in zip(names, found, strict=True)), sep=", ")
print(f"mAP at IoU 0.5 on {len(data.test)} test images: {np.mean(found):.3f}")
assert np.mean(found) > 0.8

# %% [markdown]
# ## Next steps
#
# - Photographs need an encoder: [any net of the zoo](../models.md) gives its feature maps by `features`, with
#   pretrained weights by [`jc.port.load`](fine-tuning.md).
# - Two-stage detectors (Faster R-CNN, Mask R-CNN) cut a feature for each proposed box by `jc.roi_align`, whose values
#   are torchvision's.
# - Augmentations apply to the mask, from which the boxes come, by the same draw:
#   [`jc.augment.joint`](../training.md).
