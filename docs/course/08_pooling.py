# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 8. Max, mean and L2 pooling
#
# A **pool** condenses a feature map: each of its units takes a window, usually 2×2 with stride 2, of one map, and keeps
# one number. It has no weights. Three numbers are common, for the values $x_c$ of a window of $k$×$k$ cells:
#
# $$\text{max} = \max_c x_c \qquad \text{mean} = \frac{1}{k^2} \sum_c x_c \qquad \text{L2} = \sqrt{\sum_c x_c^2}$$

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from exercises_08 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.features import draw_features
from jaxconv.viz.window import draw_window

picture(draw_window(6, 2, stride=2, position=(1, 2)), "A 2×2 window with stride 2 on a 6×6 map; the pooled map is 3×3")

# %% [markdown]
# By hand, for one row of two windows: the left one holds 1, 3, 0 and 2, the right one 3, 0, 4 and 0.

# %%
x = jnp.array([[1.0, 3.0, 3.0, 0.0], [0.0, 2.0, 4.0, 0.0]])[None, :, :, None]
pools = {"max": jc.max_pool, "mean": jc.avg_pool, "L2": jc.l2_pool}
for name, pool in pools.items():
    print(f"{name:5}", *[f"{value:.2f}" for value in pool(x, 2)[0, 0, :, 0]])

# %% [markdown]
# The right window: the largest is 4, the mean is 7/4, and the L2 pool gives $\sqrt{9 + 16} = 5$. The L2 pool is not
# divided by the number of cells. Max says that a feature is *somewhere* in the window, mean says how much of it there
# is, and L2 is between the two: large values count most.
#
# ## Gradients
#
# What a pool passes back shows which cells are responsible. With $y$ the pooled value and $g$ its gradient, max gives
# all of $g$ to the largest cell, mean gives $g / k^2$ to every cell, and L2 gives $g \, x_c / y$, in proportion to the
# value. Of the two rows above:

# %%
for name, pool in pools.items():
    slopes = jax.grad(lambda x, pool=pool: pool(x, 2).sum())(x)
    print(f"{name:5}", *[" ".join(f"{slope:.2f}" for slope in row) for row in slopes[0, :, :, 0]], sep="   ")

# %% [markdown]
# If two cells are equally large, max must choose one: here it is the first in the order of rows. At a window of zeros
# the L2 norm has no derivative; the package takes 0, like the derivative of ReLU at 0.

# %%
digits = jc.data.load("digits")
kernel = jnp.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
kernel = jnp.stack([kernel, -kernel, kernel.T, -kernel.T], axis=-1)[:, :, None]  # edges in four directions


def features(images):
    return jax.nn.relu(jc.conv(images, kernel, padding="same"))


canvas = jnp.pad(digits.test.images / 16, ((0, 0), (4, 4), (4, 4), (0, 0)))  # 16×16
edges = features(canvas[3:4])
picture(
    draw_features(canvas[3], {"edges": edges} | {name: pool(edges, 2) for name, pool in pools.items()}),
    "A handwritten 4, its edges in four directions, and these after max, mean and L2 pooling, at half the size",
)

# %% [markdown]
# ## Experiment: small shifts
#
# A pool is said to make a net insensitive to small shifts. How much? Move the images by one pixel and compare the
# pooled maps with those before, for windows of several sizes: $\lVert p' - p \rVert / \lVert p \rVert$, averaged over
# the test images. A window of 1×1 is no pool at all.

# %%
before, after = features(canvas), features(jnp.roll(canvas, 1, axis=2))


@functools.partial(jax.jit, static_argnums=(0, 1))
def change(pool, k):
    p, q = pool(before, k), pool(after, k)
    size = jnp.sqrt((p**2).sum((1, 2, 3)))
    return (jnp.sqrt(((q - p) ** 2).sum((1, 2, 3))) / size).mean()


sizes = (1, 2, 4, 8, 16)
changes = {name: [float(change(pool, k)) for k in sizes] for name, pool in pools.items()}
figure, axes = plt.subplots(figsize=(5, 3))
for (name, values), style in zip(changes.items(), ("o-", "s--", "^:"), strict=True):
    axes.plot(range(5), [100 * value for value in values], style, label=name)
axes.set(xlabel="window of the pool", ylabel="change by a shift (%)", xticks=range(5), ylim=(0, None))
axes.set_xticklabels([f"{k}×{k}" for k in sizes])
axes.legend()
words = "; ".join(f"{name} " + ", ".join(f"{value:.0%}" for value in values) for name, values in changes.items())
picture(figure, f"Change of the pooled maps by a shift of one pixel, for windows of 1, 2, 4, 8 and 16 cells: {words}")

# %% [markdown]
# Large windows notice a shift less than small ones, and a window of the whole map not at all, as long as the digit
# stays inside: that is *global* pooling. A pool of 2×2 is far from invariant, since features cross from one window to
# the next. Nets become insensitive to shifts by several pools in a row, and by training on shifted images.
#
# Which pool is best is a question to the data:

# %%
layers = {"max": jc.MaxPool(2), "mean": jc.AvgPool(2), "L2": jc.L2Pool(2)}
for name, layer in layers.items():
    net = jc.chain(jc.Conv(16, 3, padding="same"), jax.nn.relu, layer, jc.flatten, jc.Dense(10))
    print(f"{name:5} test accuracy {np.mean([trained(net, digits, seed=seed)[2] for seed in range(2)]):.1%}")

# %% [markdown]
# ## Exercises
#
# **8.1** A window holds 1, 2, 2 and 4. What do max, mean and L2 pooling make of it?

# %%
answer = ...  # (max, mean, L2)
check("8.1", answer)

# %% [markdown]
# **8.2** Write `max_pool(x, k)` of `x` [H, W] with windows of k×k that do not overlap. Rows and columns that are left
# over at the end are dropped.


# %%
def max_pool(x, k): ...


check("8.2", max_pool)

# %% [markdown]
# **8.3** Write `gradient(x)`: the derivative of the L2 norm of a window with respect to each of its cells, 0 for a
# window of zeros.


# %%
def gradient(x): ...


check("8.3", gradient)
