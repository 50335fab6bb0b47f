# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 5. 1×1 convolutions and bottlenecks
#
# A kernel of one pixel sees no neighbors. It still sees all channels: $a^t_{ij} = b^t + \sum_l K^t_l \, x_{ijl}$. That
# is a dense layer from the channels of a pixel to new channels, the same one at every pixel.

# %%
import jax
import jax.numpy as jnp
from exercises_05 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.features import draw_features
from jaxconv.viz.window import draw_window

picture(
    draw_window((5, 5), 1, position=(1, 3)), "A 1×1 window on a 5×5 input: a unit sees the one pixel of its own index"
)

# %%
x = jax.random.normal(jax.random.key(0), (8, 14, 14, 64))
kernel = jax.random.normal(jax.random.key(1), (1, 1, 64, 16))
y = jc.conv(x, kernel)
y.shape, bool(jnp.allclose(y, x @ kernel[0, 0], atol=1e-3))

# %% [markdown]
# A 1×1 convolution mixes channels. With weights chosen by hand it turns a color image into gray, or into differences of
# colors:

# %%
image = jc.data.load("shapes", size=48, train=4, test=4).test.images[3:] / 255
colors = jnp.array([[0.3, 1, 0], [0.6, -1, -0.5], [0.1, 0, 1]])[None, None]  # [1, 1, 3 channels, 3 maps]
picture(
    draw_features(image[0], {"mixed": jc.conv(image, colors)}),
    "A purple disc and an orange cross on green texture, and three maps: gray, red − green, and blue − green / 2",
)

# %% [markdown]
# ## Bottlenecks
#
# The multiplications (MACs, multiply-accumulates) of a convolution are
# $\text{places} \cdot k^2 \cdot C_{in} \cdot C_{out}$. With many channels a 3×3 convolution is expensive, and nine
# times as expensive as a 1×1. A **bottleneck** therefore reduces the channels by a 1×1 convolution, looks at neighbors
# with the few, and expands them by another 1×1. GoogLeNet (2014) reduces in this way, ResNet-50 (2015) reduces and
# expands.

# %%
wide = jc.Conv(256, 3, padding="same", bias=False)
bottleneck = jc.chain(
    reduce=jc.Conv(64, 1, bias=False),
    look=jc.Conv(64, 3, padding="same", bias=False),
    expand=jc.Conv(256, 1, bias=False),
)
print(jc.summary(bottleneck, (1, 14, 14, 256)).text(100))
ratio = jc.summary(wide, (1, 14, 14, 256)).macs / jc.summary(bottleneck, (1, 14, 14, 256)).macs
print(f"\na 3×3 convolution from 256 to 256 channels: {ratio:.1f} times as many MACs")

# %% [markdown]
# The table counts MACs twice: by the formula, and without the taps on padding, which multiply zeros.
#
# ## Experiment: what does the bottleneck cost?
#
# Two nets on digits that differ in the middle: a 3×3 convolution of 64 channels, or a bottleneck of 16.

# %%
digits = jc.data.load("digits")


def net(middle):
    return jc.chain(
        jc.Conv(64, 3, padding="same"), jax.nn.relu, middle, jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dense(10)
    )


middles = {
    "3×3": jc.Conv(64, 3, padding="same"),
    "bottleneck": jc.chain(jc.Conv(16, 1), jax.nn.relu, jc.Conv(16, 3, padding="same"), jax.nn.relu, jc.Conv(64, 1)),
}
for name, middle in middles.items():
    table, share = jc.summary(middle, (1, 8, 8, 64)), trained(net(middle), digits)[2]
    print(f"{name:10}  middle {table.macs:>9,} MACs {table.parameters:>6,} parameters, test accuracy {share:.1%}")

# %% [markdown]
# The middle needs less than an eighth of the MACs and of the parameters, and the accuracies are close. What is saved
# can be spent on more layers, or more channels.
#
# ## Exercises
#
# **5.1** How many multiplications has a 3×3 convolution from 256 to 256 channels with "same" padding on 14×14 places,
# counted by the formula? And a bottleneck of 64 channels: 1×1, 3×3, 1×1, from 256 back to 256?

# %%
answer = ...  # (3×3, bottleneck)
check("5.1", answer)

# %% [markdown]
# **5.2** Write a 1×1 convolution, `pointwise(x, kernel, bias)`, of `x` [H, W, C], `kernel` [C, T] and `bias` [T].


# %%
def pointwise(x, kernel, bias): ...


check("5.2", pointwise)

# %% [markdown]
# **5.3** Two 1×1 convolutions in a row without a nonlinearity between them are one. Write `merged(k1, b1, k2, b2)`,
# which returns its kernel and its bias; `k1` [C, B], `b1` [B], `k2` [B, T], `b2` [T].


# %%
def merged(k1, b1, k2, b2): ...


check("5.3", merged)
