# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 9. Training
#
# A net with weights drawn at random answers at random. Training changes the weights so that a **loss** gets smaller.
# The last layer gives a score $z_c$ for each class; softmax turns scores into probabilities,
# $p_c = e^{z_c} / \sum_d e^{z_d}$; and the loss of an image of class $y$ is the **cross-entropy** $-\log p_y$. It is 0
# if the net is sure and right, and has no bound if it is sure and wrong.
#
# Gradient descent takes steps $w \leftarrow w - \eta \, \partial L / \partial w$ with **learning rate** $\eta$. The
# gradient is that of a **batch** of some images: a rough direction for each step, and many steps, instead of an exact
# direction and few.

# %%
import dataclasses

import jax
import matplotlib.pyplot as plt
import optax
from exercises_09 import check, picture
from lesson import trained

import jaxconv as jc
from jaxconv.viz.curves import training_curves
from jaxconv.viz.training import confusion, mistakes

digits = jc.data.load("digits")  # 1,438 images for training and 359 for testing
net = jc.chain(
    jc.Conv(32, 3, padding="same"), jax.nn.relu, jc.MaxPool(2),
    jc.Conv(64, 3, padding="same"), jax.nn.relu, jc.MaxPool(2),
    jc.flatten, jc.Dense(128), jax.nn.relu, jc.Dropout(0.5), jc.Dense(10),
)  # fmt: skip
print(f"{jc.summary(net, (1, 8, 8, 1)).parameters:,} parameters")

# %% [markdown]
# This is the shape of LeNet-5 (LeCun et al., 1998): convolutions and pools in turn, then dense layers.
#
# ## The loop
#
# A step takes the state of training, that is the parameters and what the optimizer remembers, and a batch, and returns
# the next state. AdamW is gradient descent that adapts the rate of each weight to the size of its recent gradients.
# Every 80 steps the loop tests the net on images that it does not learn from.

# %%


def prepare(images):
    return images / digits.peak


def test(train):
    return jc.training.evaluate(net, train.params, train.state, digits.test.images, digits.test.labels, prepare=prepare)


steps = 400
tx = optax.adamw(optax.cosine_decay_schedule(5e-3, steps), weight_decay=1e-2)
train = jc.training.init_state(net, tx, jax.random.key(0), (1, 8, 8, 1))
step = jax.jit(jc.training.make_step(net, tx, prepare=prepare))
lines = []
for batch in jc.training.shuffled_batches(digits.train, 64, seed=0, steps=range(steps)):
    train, now = step(train, batch)
    done = int(train.step)
    if done % 20 == 0:
        lines.append({"step": done, "loss": float(now["loss"]), "accuracy": float(now["correct"] / now["count"])})
    if done % 80 == 0:
        found = test(train)
        lines.append({"step": done, "test_loss": found.mean_loss, "test_accuracy": found.accuracy})
picture(
    training_curves(lines, noise=["dropout 0.5"]),
    f"Loss and accuracy over {steps} steps: the loss falls, and the test accuracy ends at {found.accuracy:.1%}",
)

# %% [markdown]
# ## What it still gets wrong
#
# The test accuracy is above 97 %. Before one asks for more, one should look at the rest:

# %%
picture(
    mistakes(digits.test.images, found.label, found.answer, found.confidence, digits.classes, peak=16),
    "The misclassified test images, each with its label, the answer and its probability",
)

# %%
matrix = found.confusion(10)
picture(
    confusion(matrix, digits.classes), f"Confusion matrix: {int(matrix.trace())} of {int(matrix.sum())} on the diagonal"
)

# %% [markdown]
# ## Experiment: the learning rate
#
# It is the first number to choose. Too small, and nothing happens in the time one has; too large, and each step
# destroys what the others built. Between the two is a range in which the exact value matters little, so rates are tried
# in factors of ten, or of three.

# %%
rates = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
small = jc.chain(jc.Conv(16, 3, padding="same"), jax.nn.relu, jc.MaxPool(2), jc.flatten, jc.Dense(10))
shares = [trained(small, digits, learning_rate=rate, steps=100)[2] for rate in rates]
figure, axes = plt.subplots(figsize=(5, 3))
axes.semilogx(rates, [100 * share for share in shares], "o-")
axes.set(xlabel="learning rate", ylabel="test accuracy (%)", ylim=(0, 100))
words = ", ".join(f"{rate:g} {share:.0%}" for rate, share in zip(rates, shares, strict=True))
picture(figure, f"Test accuracy after 100 steps against the learning rate: {words}")

# %% [markdown]
# ## Regularization
#
# With few images, a net learns them by heart: on its own training images it is right, on others much less often. This
# is **overfitting**, and more data is the first remedy.

# %%
for count in (50, 100, 200, 400, 800):
    part = jc.data.Arrays(digits.train.images[:count], digits.train.labels[:count])
    params, state, share = trained(small, dataclasses.replace(digits, train=part), learning_rate=1e-2)
    own, _ = small.apply(params, state, prepare(part.images))
    right = float((own.argmax(-1) == part.labels).mean())
    print(f"{count:4} training images: {right:.1%} right on these, {share:.1%} on the test images")

# %% [markdown]
# Where there is no more data, one makes it harder to learn by heart: **weight decay** pulls all weights towards 0 in
# each step; **dropout** sets a random part of the units, often half, to 0 in each training step; **augmentation**
# changes the training images at random. An augmentation must make images that could occur: a 6 turned upside down is a
# 9. Whether a remedy helps is measured on images that were not used to choose it.
#
# ## Exercises
#
# **9.1** What is the loss of a net that gives each of ten classes the same probability?

# %%
answer = ...
check("9.1", answer)

# %% [markdown]
# **9.2** Write `cross_entropy(scores, label)`: the loss for `scores` [C] and an integer label. It must work for scores
# of 1000, too.


# %%
def cross_entropy(scores, label): ...


check("9.2", cross_entropy)

# %% [markdown]
# **9.3** Write `step(w, gradient, rate, decay)`: the weights after one step of gradient descent on the loss plus
# $\frac{1}{2} \text{decay} \cdot w^2$.


# %%
def step(w, gradient, rate, decay): ...


check("9.3", step)
