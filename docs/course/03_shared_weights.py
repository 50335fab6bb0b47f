# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 3. Shared weights
#
# All units of a feature map use the same weights and the same bias, each at its own place:
# $a_{ij} = b + \sum_m \sum_n K_{mn} x_{i+m, j+n}$. The weights $K$ are the **kernel**, and it has no index $i$ or $j$.
# A unit that detects a vertical edge in one corner is joined by units that detect the same edge everywhere else.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from exercises_03 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.features import draw_features
from jaxconv.viz.window import animate_window

picture(animate_window((5, 5), 3), "Animation: one 3×3 window visits the nine places of a 5×5 input, row by row")

# %% [markdown]
# ## Translation equivariance
#
# If the image moves, so does its feature map, and nothing else happens to it:
# $f(\text{shift}(x)) = \text{shift}(f(x))$. This is called **translation equivariance**. A handwritten 4 on a larger
# canvas, and the same 4 moved down by 3 pixels and to the right by 5:

# %%
digits = jc.data.load("digits")
four = jnp.zeros((1, 18, 18, 1)).at[:, 3:11, 3:11].set(digits.test.images[3:4] / 16)
shifted = jnp.roll(four, (3, 5), axis=(1, 2))
edge = jnp.array([[-1.0, 0, 1]] * 3)  # bright on the right, dark on the left
kernel = jnp.stack([edge, edge.T, jnp.full((3, 3), 1 / 9)], axis=-1)[:, :, None]

first, second = jc.conv(four, kernel), jc.conv(shifted, kernel)
picture(
    draw_features(four[0], {"maps": first}),
    "A 4 in the upper left, and its maps of vertical edges, of horizontal edges and of means in the same place",
)

# %%
picture(draw_features(shifted[0], {"maps": second}), "The 4 further down and right, and the same maps, moved as far")

# %%
bool(jnp.allclose(second, jnp.roll(first, (3, 5), axis=(1, 2)), atol=1e-6))

# %% [markdown]
# At the border this can only hold as far as nothing leaves the image. It is a property of the layer, whatever its
# weights are, and therefore needs no training. *Invariance*, an answer that does not change at all, is something else;
# pooling contributes to that (page 8).
#
# ## Counting parameters
#
# 20 feature maps of 24×24 units over a 28×28 image: with shared weights, with local fields but a kernel for each unit
# (`jc.LocalConv`), and as a dense layer with that many units.

# %%
layers = {"shared": jc.Conv(20, 5), "local": jc.LocalConv(20, 5), "dense": jc.chain(jc.flatten, jc.Dense(24 * 24 * 20))}
for name, layer in layers.items():
    table = jc.summary(layer, (1, 28, 28, 1))
    print(f"{name:7}{table.parameters:>10,} parameters {table.macs:>10,} multiplications")

# %% [markdown]
# A kernel has 25 weights and a bias, so 20 maps have 20 · 26 = 520 parameters, and that number does not depend on the
# size of the image. Sharing saves parameters, not arithmetic: the first two rows multiply equally often.
#
# ## Experiment: digits in another place
#
# Both nets below are trained on digits in one corner of a 14×14 canvas, and tested on digits further right. They differ
# in one word. The largest value of each map decides, wherever it is.

# %%


def placed(part, column):
    canvas = np.zeros((len(part.images), 14, 14, 1), np.uint8)
    canvas[:, 3:11, column : column + 8] = part.images
    return dataclasses.replace(part, images=canvas)


def net(first):
    return jc.chain(first(24, 5), jax.nn.relu, jc.global_max_pool, jc.Dense(10))


def accuracies(net):
    left = dataclasses.replace(digits, train=placed(digits.train, 1), test=placed(digits.test, 1))
    params, state, _ = trained(net, left, steps=400)
    answer = jax.jit(lambda images: net.apply(params, state, images / 16)[0].argmax(-1))
    return [float((answer(placed(digits.test, column).images) == digits.test.labels).mean()) for column in range(1, 6)]


found = {"shared": accuracies(net(jc.Conv)), "local": accuracies(net(jc.LocalConv))}
figure, axes = plt.subplots(figsize=(5, 3))
for (name, shares), style in zip(found.items(), ("o-", "s--"), strict=True):
    axes.plot(range(5), [100 * share for share in shares], style, label=f"{name} weights")
axes.set(xlabel="shift to the right (pixels)", ylabel="test accuracy (%)", xticks=range(5), ylim=(0, 103))
axes.legend()
picture(
    figure,
    "Test accuracy at shifts of 0 to 4 pixels: "
    + "; ".join(f"{name} weights " + ", ".join(f"{share:.0%}" for share in shares) for name, shares in found.items()),
)

# %% [markdown]
# With shared weights the digit may be anywhere. Without, units that never saw such a stroke in training have to answer,
# and after a few pixels the net does little better than guessing.
#
# ## Exercises
#
# **3.1** How many parameters, biases included, have 20 feature maps with 5×5 kernels on a *color* image of 28×28
# pixels, without padding? And with weights of its own for each unit?

# %%
answer = ...  # (shared, not shared)
check("3.1", answer)

# %% [markdown]
# **3.2** Write `shift(x, rows, columns)`: an image `x` [H, W, C] moved down by `rows` ≥ 0 and to the right by `columns`
# ≥ 0. What leaves the image is lost, and the new cells are 0.


# %%
def shift(x, rows, columns): ...


check("3.2", shift)

# %% [markdown]
# **3.3** Write a convolution on one axis, `convolve(x, kernel)`: `x` [n] and `kernel` [k] give [n − k + 1], and unit i
# is the sum of `kernel[m] * x[i + m]`.


# %%
def convolve(x, kernel): ...


check("3.3", convolve)
