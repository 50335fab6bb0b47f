# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 6. Padding: valid, same and full
#
# A window of $k$ cells fits into a row of $n$ cells at $n - k + 1$ places. Where it may stick out, the row is
# **padded** with zeros. Three amounts have names; with stride 1 and a window of $k$ cells:
#
# | padding | cells added | size of the map | windows |
# |---|---|---|---|
# | valid | none | $n - k + 1$ | inside the image |
# | same | $k - 1$ in all, half on each side | $n$ | one centered at each pixel |
# | full | $k - 1$ on each side | $n + k - 1$ | all that contain a pixel |

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from exercises_06 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.explain.outputs import outputs
from jaxconv.viz.features import draw_features
from jaxconv.viz.window import draw_window

picture(draw_window(5, 3, padding="valid"), "valid: the first 3×3 window is in the corner of the 5×5 input; a 3×3 map")

# %%
picture(draw_window(5, 3, padding="same"), "same: the first window is centered on the corner pixel; a 5×5 map")

# %%
picture(draw_window(5, 3, padding="full"), "full: the first window contains the corner pixel alone; a 7×7 map")

# %%
x = jnp.zeros((1, 28, 28, 1))
{padding: jc.conv(x, jnp.zeros((5, 5, 1, 20)), padding=padding).shape for padding in ("valid", "same", "full")}

# %% [markdown]
# Without padding, every layer of $k$×$k$ takes $k - 1$ rows and columns: 8×8 digits allow three layers of 3×3, which
# leave 2×2. With "same" padding a net can be as deep as one likes.
#
# ## How often is a pixel used?
#
# The sum of all units of a map depends on each pixel as often as there are windows that contain it. The gradient of
# that sum, for a kernel of ones, counts them.

# %%
image = jnp.ones((1, 8, 8, 1))
counts = {
    padding: jax.grad(lambda x, padding=padding: jc.conv(x, jnp.ones((3, 3, 1, 1)), padding=padding).sum())(image)
    for padding in ("valid", "same", "full")
}
picture(
    draw_features(image[0], {"windows": jnp.concatenate(list(counts.values()), axis=-1)}),
    "Windows that contain each pixel of 8×8. valid: 1 in the corners to 9 inside; same: 4 to 9; full: 9 everywhere",
)

# %%
print(np.asarray(counts["valid"], int)[0, 0, :, 0], np.asarray(counts["same"], int)[0, 0, :, 0], "(first row)")

# %% [markdown]
# ## The border can be felt
#
# Padding with zeros puts a dark frame around the image. Four layers of 3×3 with random weights, on an image that is the
# same everywhere:

# %%
net = jc.chain(*[jc.Conv(6, 3, padding="same"), jnp.tanh] * 4)
constant = jnp.ones((1, 16, 16, 1))
params, state = net.init(jax.random.key(3), constant)
found = {name: y for name, y in outputs(net, params, state, constant).items() if name.startswith("tanh")}
picture(
    draw_features(constant[0], found),
    "Feature maps of four layers on a constant image: constant inside, with a frame that gets wider with each layer",
)

# %% [markdown]
# The frame grows by one pixel with each layer. A net can learn from it where a pixel is, which a convolution alone
# could not tell. `padding_mode` offers other continuations of the image: "reflect" mirrors it at its outermost pixel,
# "edge" repeats that pixel, and "wrap" continues with the opposite side. On a constant image none of the three makes a
# frame.

# %%
for mode in ("zeros", "reflect", "edge", "wrap"):
    mean = jc.conv(jnp.arange(6.0)[None, :, None], jnp.ones((3, 1, 1)) / 3, padding="same", padding_mode=mode)
    print(f"{mode:8} means of three of the cells 0 1 2 3 4 5:", " ".join(f"{value:.2f}" for value in mean[0, :, 0]))

# %% [markdown]
# ## Experiment: three layers with each padding
#
# The strokes of these digits reach the upper and lower border, where "valid" looks least often.

# %%
digits = jc.data.load("digits")


def three(padding):
    convs = [jc.Conv(12, 3, padding=padding), jax.nn.relu] * 3
    return jc.chain(*convs, jc.flatten, jc.Dense(10))


names = ("valid", "same", "full")
shares = {name: [trained(three(name), digits, seed=seed)[2] for seed in range(2)] for name in names}
figure, axes = plt.subplots(figsize=(5, 3))
for name, runs in shares.items():
    axes.plot([name] * len(runs), [100 * share for share in runs], "o", alpha=0.7)
axes.set(ylabel="test accuracy (%)", xlim=(-0.5, 2.5))
axes.grid(axis="y", alpha=0.3)
picture(
    figure,
    "Mean test accuracy of two runs: " + ", ".join(f"{name} {np.mean(runs):.1%}" for name, runs in shares.items()),
)

# %% [markdown]
# Each dot is a run from other initial weights. More padding also means larger maps, and with them a larger dense layer
# at the end and more arithmetic.
#
# ## Exercises
#
# **6.1** What is the size of the feature map of a 5×5 kernel on 28 pixels with each padding, at stride 1?

# %%
answer = ...  # (valid, same, full)
check("6.1", answer)

# %% [markdown]
# **6.2** Write `amounts(k)`: the cells (low, high) that "same" adds before and after the row for a window of k cells,
# at stride 1. If the number is odd, the high side gets one more.


# %%
def amounts(k): ...


check("6.2", amounts)

# %% [markdown]
# **6.3** Write `uses(n, k)`: for each of n cells, the number of windows of k cells without padding that contain it.


# %%
def uses(n, k): ...


check("6.3", uses)
