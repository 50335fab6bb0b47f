# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 1. Why spatial structure
#
# A dense layer takes an image as a list of numbers. Unit $t$ computes $a_t = b_t + \sum_p W_{pt} x_p$, a sum over all
# pixels $p$, and a sum does not depend on the order of its terms. Which pixels are neighbors is nowhere in the formula.
#
# This page takes that literally: it shuffles the pixels of all images, by one and the same permutation, and trains
# again.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from exercises_01 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.kernels import draw_kernels
from jaxconv.viz.reconstructions import draw_reconstructions

digits = jc.data.load("digits")
order = np.random.default_rng(0).permutation(64)


def shuffled(part):
    pixels = part.images.reshape(-1, 64)[:, order]
    return dataclasses.replace(part, images=pixels.reshape(-1, 8, 8, 1))


mixed = dataclasses.replace(digits, train=shuffled(digits.train), test=shuffled(digits.test))
labels = [str(label) for label in digits.test.labels[:8]]
picture(
    draw_reconstructions(digits.test.images[:8], mixed.test.images[:8], labels, peak=16),
    "Eight handwritten digits of 8×8 pixels, and below each the same pixels shuffled: no digit can be recognized",
)

# %% [markdown]
# ## To a dense layer the two are the same problem
#
# Put the rows of the kernel in the same order as the pixels, and the layer gives the same outputs on shuffled images.

# %%
layer = jc.chain(jc.flatten, jc.Dense(10))
params, state = layer.init(jax.random.key(0), (1, 8, 8, 1))
kernel, bias = params["dense0"]["kernel"], params["dense0"]["bias"]
moved = {**params, "dense0": {"kernel": kernel[order], "bias": bias}}
straight, _ = layer.apply(params, state, digits.test.images / 16)
other, _ = layer.apply(moved, state, mixed.test.images / 16)
kernel.shape, bool(jnp.allclose(straight, other, atol=1e-5))

# %% [markdown]
# The weights are drawn independently and from one distribution, so any order of the rows is as likely as any other.
# Gradient descent moves each row by its own pixel alone. A dense net therefore learns shuffled images as well as
# images; what it knows about neighbors after training, it had to find in the data.
#
# ## Experiment: shuffle the pixels
#
# A net of two dense layers and a small convolutional net, each trained from two seeds on both sets.

# %%
dense = jc.chain(jc.flatten, hidden=jc.Dense(64), relu=jax.nn.relu, head=jc.Dense(10))
conv = jc.chain(
    jc.Conv(16, 3), jax.nn.relu, jc.Conv(32, 3), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dropout(0.5), jc.Dense(10)
)
found = {}
for name, net in {"dense": dense, "convolutional": conv}.items():
    for kind, data in {"images": digits, "shuffled": mixed}.items():
        found[name, kind] = np.mean([trained(net, data, steps=250, seed=seed)[2] for seed in range(2)])

figure, axes = plt.subplots(figsize=(5, 3))
for kind, mark in (("images", "o"), ("shuffled", "x")):
    axes.plot([100 * found[name, kind] for name in ("dense", "convolutional")], mark, markersize=9, label=kind)
axes.set(xticks=[0, 1], xticklabels=["dense", "convolutional"], xlim=(-0.5, 1.5), ylabel="test accuracy (%)")
axes.grid(axis="y", alpha=0.3)
axes.legend(loc="center")
picture(figure, "Test accuracy: " + ", ".join(f"{a} net, {b} {share:.1%}" for (a, b), share in found.items()))

# %% [markdown]
# The two marks of the dense net differ by chance only. The convolutional net assumes that neighbors belong together. On
# images this is true, and the net does better than the dense one; on shuffled pixels it is false, and the lead shrinks
# or is gone. An architecture is a statement about the data, and it helps as far as the statement holds.
#
# What the dense net has learned of images can be seen: each hidden unit has one weight for each pixel, which are drawn
# here in their places.

# %%
params, _, _ = trained(dense, digits)
weights = params["hidden"]["kernel"][:, :24].reshape(8, 8, 1, 24)
picture(
    draw_kernels(weights), "The weights of 24 hidden units as pictures of 8×8 pixels, red positive and blue negative"
)

# %% [markdown]
# ## Exercises
#
# **1.1** How many weights, without biases, has a dense layer of 100 units on a gray image of 28×28 pixels? And on a
# color image of 224×224?

# %%
answer = ...  # (gray, color)
check("1.1", answer)

# %% [markdown]
# **1.2** Write `shuffle(images, order)`: images [N, H, W, C] whose pixel p, counted row by row, is pixel `order[p]` of
# the input. The channels of a pixel stay together.


# %%
def shuffle(images, order): ...


check("1.2", shuffle)

# %% [markdown]
# **1.3** A dense layer with a kernel [P, T] was trained on flattened images `x` [N, P]. Write `reorder(kernel, order)`:
# the kernel that gives the same outputs on `x[:, order]`.


# %%
def reorder(kernel, order): ...


check("1.3", reorder)
