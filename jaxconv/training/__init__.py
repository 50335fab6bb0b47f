"""Training: the functions of a custom loop, and the loop that `jaxconv train` runs.

train = training.init_state(net, tx, key, (1, 28, 28, 1))
step = jax.jit(training.make_step(net, tx), donate_argnums=0)
for batch in training.shuffled_batches(dataset.train, 64, seed=0, steps=range(1000)):
    train, metrics = step(train, batch)
training.save_checkpoint("train.safetensors", train)
"""

from jaxconv._base.memory import keep_heap
from jaxconv.training import losses, metrics, optim
from jaxconv.training.batches import Resident, Streamed, shuffled_batches
from jaxconv.training.calibration import fit_temperature
from jaxconv.training.checkpoint import load as load_checkpoint
from jaxconv.training.checkpoint import save as save_checkpoint
from jaxconv.training.devices import make_devices
from jaxconv.training.ensemble import init_ensemble, member
from jaxconv.training.evaluation import evaluate, make_eval_step
from jaxconv.training.loop import fit
from jaxconv.training.rolling import Checkpoints
from jaxconv.training.statistics import recompute_statistics
from jaxconv.training.step import TrainState, init_state, make_step
from jaxconv.training.tiles import multi_scale, sliding_window
from jaxconv.training.tta import Views

__all__ = [
    "Checkpoints", "Resident", "Streamed", "TrainState", "Views", "evaluate", "fit", "fit_temperature",
    "init_ensemble", "init_state", "keep_heap", "load_checkpoint", "losses", "make_devices", "make_eval_step",
    "make_step", "member", "metrics", "multi_scale", "optim", "recompute_statistics", "save_checkpoint",
    "shuffled_batches", "sliding_window",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
