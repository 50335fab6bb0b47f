"""A run of 60 steps on digits, with dropout, augmentation, a schedule, averages and checkpoints."""

import tempfile

from jaxconv.run import config

CONFIG = """
[data]
name = "digits"
[net]
name = "conv_pool"
features = [6]
kernel_size = 3
hidden = [16]
dropout = 0.2
batch_norm = true
[augment]
shift = 1
[optim]
name = "muon"
learning_rate = 0.1
adam_learning_rate = 0.02
weight_decay = 0.01
ema = 0.9
max_grad_norm = 5.0
[optim.schedule]
name = "warmup_cosine_decay_schedule"
warmup_percent = 20
[train]
epochs = 2
batch_size = 48
log_every = 7
eval_every = 25
log_norms = true
[checkpoint]
every_steps = 11
"""


def settings(*overrides, text=CONFIG, folder=None):
    path = (folder or tempfile.mkdtemp()) + "/tiny.toml"
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    return config.read(path, overrides)
