# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 2. Local receptive fields
#
# A unit of a dense layer looks at every pixel. A unit of a convolutional layer looks at a small window of its input,
# its **local receptive field**: 5×5 pixels of a 28×28 image, say. The next unit looks at the next window, one pixel
# further. This is a statement about images: what belongs together is close together.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from exercises_02 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.window import draw_window

picture(draw_window((7, 7), 3, position=(2, 2)), "A 3×3 window on a 7×7 input, and the unit of the 5×5 map it computes")

# %% [markdown]
# The number of windows that fit is the size of the feature map: a window of $k$ cells can start at $n - k + 1$ places
# of $n$ cells.

# %%
layer = jc.Conv(3, 5)
params, state = layer.init(jax.random.key(0), (1, 28, 28, 1))
maps, _ = layer.apply(params, state, jnp.zeros((1, 28, 28, 1)))
maps.shape, 28 - 5 + 1

# %% [markdown]
# ## Which pixels does a unit see?
#
# Ask the derivatives: $\partial a_{ij} / \partial x_{mn}$ is zero wherever the unit does not look.

# %%
image = jax.random.normal(jax.random.key(1), (1, 28, 28, 1))


def unit(x):
    return layer.apply(params, state, x)[0][0, 10, 12, 0]


seen = jax.grad(unit)(image)[0, :, :, 0] != 0
rows, columns = np.nonzero(seen)
print(f"rows {rows.min()} to {rows.max()}, columns {columns.min()} to {columns.max()}")

# %% [markdown]
# Unit (10, 12) sees rows 10 to 14 and columns 12 to 16: its window starts where its own index says.
#
# ## Receptive fields grow with depth
#
# A unit of a second layer sees 5×5 units of the first, and through them more pixels. `jc.summary` computes the field of
# every layer, by the same arithmetic that exercise 2.2 asks for.

# %%
net = jc.chain(jc.Conv(20, 5), jc.MaxPool(2), jc.Conv(40, 5), jc.MaxPool(2))
print(jc.summary(net, (1, 28, 28, 1)).text(100))

# %% [markdown]
# ## Experiment: does the size of the window matter?
#
# One convolution, a pool and a dense layer on 8×8 digits, with windows from 1×1 (which see no neighbor) to 7×7.

# %%
digits = jc.data.load("digits")


def accuracy(kernel_size):
    net = jc.chain(jc.Conv(8, kernel_size, padding="same"), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dense(10))
    return trained(net, digits, steps=150, learning_rate=1e-2)[2]


sizes = (1, 2, 3, 5, 7)
accuracies = [accuracy(k) for k in sizes]
figure, axes = plt.subplots(figsize=(5, 3))
axes.plot(sizes, [100 * a for a in accuracies], "o-")
axes.set(xlabel="window", ylabel="test accuracy (%)", xticks=sizes, xticklabels=[f"{k}×{k}" for k in sizes])
picture(
    figure,
    "Test accuracy on digits against the size of the window: "
    + ", ".join(f"{k}×{k} {a:.1%}" for k, a in zip(sizes, accuracies, strict=True)),
)

# %% [markdown]
# ## Exercises
#
# **2.1** How many weights does one unit need with a local receptive field of 5×5 on a color image, without its bias?
# And a unit of a dense layer on the same 28×28 image?

# %%
answer = ...  # (local, dense)
check("2.1", answer)

# %% [markdown]
# **2.2** Write the receptive field of a stack of windows: `field([(k, s), …])` for layers with kernel $k$ and stride
# $s$, from input to output. Each layer adds $(k - 1)$ times the *effective stride*, the product of the strides
# before it.


# %%
def field(layers): ...


check("2.2", field)

# %% [markdown]
# **2.3** Write `window(x, i, j, k)`: the part of an image `x` [H, W, C] that unit (i, j) of a k×k convolution sees.


# %%
def window(x, i, j, k): ...


check("2.3", window)
