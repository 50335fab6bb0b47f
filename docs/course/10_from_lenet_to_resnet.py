# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 10. From LeNet to ResNet
#
# LeNet-5 (1998) has five layers with weights. VGG (2014) has 11 to 19, and ResNet (2015) up to 152. `jc.summary` counts
# them without computing anything:

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from exercises_10 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.field import effective_fields
from jaxconv.viz.field_pictures import draw_fields

nets = {"lenet5": (28, 28, 1), "vgg11": (224, 224, 3), "resnet18": (224, 224, 3)}
for name, shape in nets.items():
    table = jc.summary(getattr(jc.models, name)(), (1, *shape))
    deep = [row for row in table.rows if row.macs and "downsample" not in row.path]  # not on shortcuts
    convs = [row.field[0].unclipped for row in deep if len(row.output) == 4]
    print(f"{name:9} {len(deep):3} layers {table.parameters:>12,} parameters {table.macs:>14,} MACs,", end=" ")
    print(f"the last convolution sees {convs[-1]} pixels")

# %% [markdown]
# Most parameters of VGG are in its first dense layer, 512·7·7 → 4,096. ResNet averages over the places instead (global
# pooling) and has one dense layer of 512 → 1,000. The last number is the length of one side of the receptive field in
# pixels, padding included.
#
# ## Small kernels, many layers
#
# Two 3×3 convolutions in a row see 5×5 pixels, three see 7×7, with fewer weights than one large kernel and a
# nonlinearity after each. VGG therefore has 3×3 kernels only. Not all pixels of such a field count equally: the middle
# is reached on many paths, the border on few. The colors show gradients.

# %%
digits = jc.data.load("digits")
canvas = jnp.pad(digits.test.images[:16] / 16, ((0, 0), (4, 4), (4, 4), (0, 0)))
stack = jc.chain(*[jc.Conv(8, 3, padding="same"), jax.nn.relu] * 5)
fields = effective_fields(stack, canvas, layers=[f"conv{i}" for i in (0, 1, 2, 4)])
picture(
    draw_fields(np.asarray(canvas[3]), fields),
    "Receptive fields of a unit after 1, 2, 3 and 5 layers of 3×3: boxes of 3, 5, 7 and 11 pixels; "
    "most of the gradient is in the middle of the box",
)

# %% [markdown]
# ## Gradients through depth
#
# The gradient of an early layer is a product with one factor for each layer above. If the factors are typically less
# than 1, it vanishes with depth; if greater, it explodes. A **residual** layer computes $y = x + f(x)$, so that its
# factor is $1 + f'$: whatever $f$ does, the gradient also takes the direct way, on which nothing is lost. Below are two
# nets of 28 layers with equally many parameters, before training.

# %%


def deep(depth, shortcuts):
    def block():
        body = jc.chain(jc.Conv(12, 3, padding="same"), jax.nn.relu, jc.Conv(12, 3, padding="same"), jax.nn.relu)
        return jc.residual(body) if shortcuts else body

    blocks = {f"block{i}": block() for i in range(depth // 2)}
    stem = {"stem": jc.Conv(12, 3, padding="same"), "act": jax.nn.relu}
    return jc.chain(**stem, **blocks, pool=jc.global_max_pool, head=jc.Dense(10))


def gradient_norms(net):
    params, state = net.init(jax.random.key(0), (1, 8, 8, 1))

    def loss(params):
        scores, _ = net.apply(params, state, digits.train.images[:64] / 16)
        return optax.softmax_cross_entropy_with_integer_labels(scores, digits.train.labels[:64]).mean()

    found = jax.jit(jax.grad(loss))(params)
    squares = [sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(found[f"block{i}"])) for i in range(14)]
    return [float(jnp.sqrt(square)) for square in squares]


norms = {"plain": gradient_norms(deep(28, False)), "residual": gradient_norms(deep(28, True))}
figure, axes = plt.subplots(figsize=(5, 3))
for (name, values), style in zip(norms.items(), ("o-", "s--"), strict=True):
    axes.semilogy(range(1, 15), values, style, label=name)
axes.set(xlabel="block, from the image to the answer", ylabel="norm of the gradient")
axes.legend()
picture(
    figure,
    "Norm of the gradient in each of 14 blocks. Plain: "
    f"{norms['plain'][0]:.0e} in the first, {norms['plain'][-1]:.0e} in the last; residual: "
    f"{norms['residual'][0]:.0e} and {norms['residual'][-1]:.0e}",
)

# %% [markdown]
# In the plain net the gradient shrinks by orders of magnitude on its way to the first block. In the residual net it is
# about as large everywhere.
#
# ## Experiment: plain against residual

# %%
for depth in (4, 28):
    for name, shortcuts in (("plain", False), ("residual", True)):
        net = deep(depth, shortcuts)
        share = trained(net, digits, learning_rate=2e-3)[2]
        count = jc.summary(net, (1, 8, 8, 1)).parameters
        print(f"{depth:2} layers, {name:9} {count:>6,} parameters, test accuracy {share:.1%}")

# %% [markdown]
# With 4 layers both learn. With 28, the plain net is at or near the 10 % of guessing, while the residual net learns as
# if it were shallow. Better initial weights and batch norm, which rescales each layer, carry plain nets further. He et
# al. used both, and still found a plain net of 34 layers worse than one of 18, on its training images, too; with
# shortcuts the deeper one was better.
#
# ## Exercises
#
# **10.1** How many 3×3 convolutions with stride 1 see as much as one of 7×7? How many weights have they together, and
# how many has the one of 7×7, both in units of C² with C channels everywhere and without biases?

# %%
answer = ...  # (layers, their weights / C², weights of 7×7 / C²)
check("10.1", answer)

# %% [markdown]
# **10.2** Write `block(x, body)`: a residual block as in ResNet. A function `body` of `x`, the shortcut, and a ReLU on
# their sum.


# %%
def block(x, body): ...


check("10.2", block)

# %% [markdown]
# **10.3** A chain of layers on one number multiplies by a weight each, $x \mapsto w x$; with shortcuts,
# $x \mapsto x + w x$. Write `slope(weights, shortcut)`: the derivative of the chain's output with respect to its input.


# %%
def slope(weights, shortcut): ...


check("10.3", slope)
