# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 7. Stride and the output-size formula
#
# With **stride** $s$ the window moves $s$ cells at a time. Of $n$ cells with $p$ cells of padding on each side, the
# window covers $k$ and can then be moved $n + 2p - k$ cells, in steps of $s$. With the window at the start, the number
# of units is
#
# $$\text{out} = \left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1$$

# %%
import jax
import jax.numpy as jnp
from exercises_07 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.window import animate_window, draw_window

picture(animate_window((5, 5), 3, stride=2, padding=1), "Animation: a 3×3 window in steps of 2 over a padded 5×5 input")

# %% [markdown]
# Half brackets mean rounding down: a window that would stick out is left out. On 8 cells, windows of 3 in steps of 2
# start at 0, 2 and 4. The last cell is in none of them.

# %%
picture(draw_window((8,), 3, stride=2, position=(2,)), "The third and last window covers cells 4 to 6 of 0 to 7")

# %% [markdown]
# Pools can also round up (`ceil_mode`): the last window then sticks out, and cells outside do not count.

# %%
x = jnp.arange(8.0)[None, :, None]
jc.max_pool(x, (3,), stride=2)[0, :, 0], jc.max_pool(x, (3,), stride=2, ceil_mode=True)[0, :, 0]

# %% [markdown]
# ## Dilation
#
# With **dilation** $d$ the taps of a kernel are $d$ cells apart. They span $d(k - 1) + 1$ cells instead of $k$, and
# that is what the formula must contain. With padding that may differ on the two sides it is
#
# $$\text{out} = \left\lfloor \frac{n + lo + hi - d(k - 1) - 1}{s} \right\rfloor + 1$$
#
# A dilated kernel sees more without more weights, and without losing resolution as with a stride.

# %%
picture(draw_window(7, 3, dilation=2, position=(1, 1)), "Nine taps, two cells apart, span 5×5 cells of a 7×7 input")

# %% [markdown]
# `jc.geometry.output_size` is the formula. It agrees with the shape of a convolution in every case:

# %%
cases = [(n, k, s, p, d) for n in (5, 8, 13) for k in (1, 2, 3) for s in (1, 2, 3) for p in (0, 1, 2) for d in (1, 2)]
for n, k, s, p, d in cases:
    y = jax.eval_shape(
        lambda x, k=k, s=s, p=p, d=d: jc.conv(x, jnp.ones((k, 1, 1)), stride=s, padding=p, dilation=d),
        jax.ShapeDtypeStruct((1, n, 1), jnp.float32),
    )
    assert y.shape[1] == jc.geometry.output_size(n, k, stride=s, padding=(p, p), dilation=d)
print(f"{len(cases)} cases agree")

# %% [markdown]
# ## A net whose sizes do not fit
#
# Twice a convolution and a pool make 4×4 of 28×28, and a third kernel of 5×5 has no place. The error says so before
# anything is computed: the layer, the formula with its numbers, and what could be changed.

# %%
net = jc.chain(jc.Conv(20, 5), jc.MaxPool(2), jc.Conv(40, 5), jc.MaxPool(2), jc.Conv(60, 5))
try:
    net.init(jax.random.key(0), (1, 28, 28, 1))
except jc.ShapeError as error:
    print(error)

# %% [markdown]
# The opposite question is which arguments give a size that one wants. For 14 of 28 cells with a kernel of 3:

# %%
for solution in jc.geometry.solve(out=14, n=28, kernel_size=3, dilation=1):
    print(solution)

# %% [markdown]
# ## Experiment: what does a stride save?
#
# A quarter of the units of a map is enough for the layers after it. One can compute only these (stride 2), or compute
# all and keep the largest of each 2×2 (a max pool, page 8).

# %%
digits = jc.data.load("digits")


def net(*first):
    return jc.chain(*first, jc.Conv(32, 3, padding="same"), jax.nn.relu, jc.flatten, jc.Dense(10))


def conv(stride):
    return jc.Conv(16, 3, stride=stride, padding="same")


nets = {
    "stride 1": net(conv(1), jax.nn.relu),
    "stride 2": net(conv(2), jax.nn.relu),
    "stride 1, max pool": net(conv(1), jax.nn.relu, jc.MaxPool(2)),
}
for name, each in nets.items():
    table = jc.summary(each, (1, 8, 8, 1))
    share = trained(each, digits)[2]
    print(f"{name:19} {table.macs:>7,} MACs {table.parameters:>6,} parameters, accuracy {share:.1%}")

# %% [markdown]
# Half the rows and half the columns: the second convolution and the dense layer have a quarter of the work, and with
# the stride the first one, too. The accuracies are close.
#
# ## Exercises
#
# **7.1** AlexNet, as it is trained today, begins with an 11×11 convolution with stride 4, a 3×3 pool with stride 2, a
# 5×5 convolution, and another 3×3 pool with stride 2. Both convolutions have 2 cells of padding on each side, the pools
# none. What are the sizes of the four maps for an image of 224×224?

# %%
answer = ...  # four numbers
check("7.1", answer)

# %% [markdown]
# **7.2** Write the formula: `output_size(n, k, s, p, d)` with p cells of padding on each side. It is 0 if no window
# fits.


# %%
def output_size(n, k, s, p, d): ...


check("7.2", output_size)

# %% [markdown]
# **7.3** Write a convolution with a stride on one axis without padding, `strided(x, kernel, s)`, for `x` [n] and
# `kernel` [k].


# %%
def strided(x, kernel, s): ...


check("7.3", strided)
