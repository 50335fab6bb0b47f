# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 4. Feature maps and channels
#
# One kernel finds one feature, everywhere. A layer has several kernels, and each gives a **feature map** of its own.
# The input may have several maps, too: the **channels** red, green and blue, or the feature maps of the layer below. A
# kernel has weights for all of them. For kernels of $k$×$k$ weights and $C$ channels, unit $(i, j)$ of map $t$ is
#
# $$a^t_{ij} = b^t + \sum_{m=0}^{k-1} \sum_{n=0}^{k-1} \sum_{l=0}^{C-1} K^t_{mnl} \, x_{i+m, j+n, l}$$

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from exercises_04 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.explain.outputs import outputs
from jaxconv.viz.features import draw_features
from jaxconv.viz.kernels import draw_kernels

random = np.random.default_rng(0)
x = random.normal(size=(12, 10, 3)).astype("float32")  # rows, columns, channels
kernel = random.normal(size=(5, 5, 3, 20)).astype("float32")  # m, n, l, t
bias = random.normal(size=20).astype("float32")

# %% [markdown]
# ## The formula as code
#
# `windows[i, j, m, n, l]` is $x_{i+m, j+n, l}$, the pixel that weight $(m, n, l)$ of unit $(i, j)$ meets. The sums over
# $m$, $n$ and $l$ are one line of einsum: indices that are missing on the right of the arrow are summed over.

# %%
rows = np.arange(12 - 5 + 1)[:, None] + np.arange(5)  # [i, m] -> i + m
columns = np.arange(10 - 5 + 1)[:, None] + np.arange(5)  # [j, n] -> j + n
windows = x[rows[:, None, :, None], columns[None, :, None, :]]
a = np.einsum("ijmnl,mnlt->ijt", windows, kernel) + bias
a.shape, bool(np.allclose(a, jc.conv(x, kernel, bias), atol=1e-4))

# %% [markdown]
# This is all that a convolutional layer computes; `jc.conv` does it for many images, and faster. The order of the axes
# is that of the package: images [N, rows, columns, channels], kernels [rows, columns, channels in, maps out]. What is
# called convolution here is *cross-correlation* in mathematics, where a convolution turns the kernel around. For
# weights that are learned, it makes no difference.
#
# A layer of 20 maps on a color image has 20 kernels of 5·5·3 weights and 20 biases, 1,520 parameters. A second layer of
# 40 maps sees 20 channels:

# %%
net = jc.chain(jc.Conv(20, 5), jax.nn.relu, jc.MaxPool(2), jc.Conv(40, 5), jax.nn.relu)
params, state = net.init(jax.random.key(0), (1, 28, 28, 3))
params["conv0"]["kernel"].shape, params["conv1"]["kernel"].shape

# %% [markdown]
# ## Experiment: how many maps?
#
# A convolution with 1 to 16 maps, a pool and a dense layer on 8×8 digits.

# %%
digits = jc.data.load("digits")


def maps(count):
    return jc.chain(jc.Conv(count, 3, padding="same"), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dense(10))


counts = (1, 2, 4, 8, 16)
runs = [trained(maps(count), digits, learning_rate=1e-2) for count in counts]
figure, axes = plt.subplots(figsize=(5, 3))
axes.plot(counts, [100 * share for _, _, share in runs], "o-")
axes.set_xscale("log", base=2)
axes.set(xlabel="feature maps", ylabel="test accuracy (%)", xticks=counts, xticklabels=counts)
shares = ", ".join(f"{count} {share:.1%}" for count, (_, _, share) in zip(counts, runs, strict=True))
picture(figure, f"Test accuracy on digits against the number of feature maps: {shares}")

# %% [markdown]
# One feature is not enough to tell ten digits apart, and the first doublings help most. Below are the sixteen kernels
# that were learned, and what they find in an image. A kernel that is red on one side and blue on the other responds to
# an edge of that direction.

# %%
params, state, _ = runs[-1]
picture(draw_kernels(params["conv0"]["kernel"]), "16 learned kernels of 3×3 weights, red positive and blue negative")

# %%
image = jnp.asarray(digits.test.images[3:4] / 16)
found = outputs(maps(16), params, state, image)
picture(
    draw_features(image[0], {name: found[name] for name in ("conv0", "relu0", "max_pool0")}),
    "A handwritten 4, the first ten feature maps of its convolution, the same without negative values, and pooled",
)

# %% [markdown]
# ## Exercises
#
# **4.1** How many parameters, biases included, has the second layer above: 40 feature maps with 5×5 kernels on 20
# channels?

# %%
answer = ...
check("4.1", answer)

# %% [markdown]
# **4.2** Write `feature_map(x, kernel, bias)`: one map [H − k + 1, W − k + 1] of `x` [H, W, C] by a `kernel` [k, k, C]
# and one number `bias`. Loops are fine.


# %%
def feature_map(x, kernel, bias): ...


check("4.2", feature_map)

# %% [markdown]
# **4.3** Give a kernel of 3×3 weights whose response is 0 where an image is constant, 0 where it gets steadily brighter
# from top to bottom, and positive where it gets brighter from left to right.

# %%
answer = ...  # [[…, …, …], […, …, …], […, …, …]]
check("4.3", answer)
