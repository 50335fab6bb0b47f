"""Progressive resizing of a run."""

import pytest
from support import tiny_run
from support.config_text import config_text
from support.tiny_run import killed_at_step_8

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.training.progress import Compiled

CONFIG = config_text(
    {"depth": 8, "width": 2},
    optim={"name": "sgd", "learning_rate": 0.1},
    train={"epochs": 0.5, "batch_size": 64, "log_every": 2, "eval_every": 0},
    train__progressive_resizing={"delay_fraction": 0.3},
    checkpoint={"every_steps": 4},
).replace('name = "conv_pool"', 'name = "resnet_cifar"')


def settings(folder, *overrides, text=CONFIG):
    return tiny_run.settings(folder, *overrides, text=text)


@pytest.mark.slow
def test_a_run_of_growing_images_resumes_to_the_same_bits(tmp_path):
    found, events = settings(tmp_path, "augment.shift=1"), []
    training = run.build(found)[2]
    assert [end for end, _ in training.stages] == sorted({end for end, _ in training.stages})
    assert len(training.stages) == 2
    killed_at_step_8(found, tmp_path, events.append)
    assert sum(isinstance(event, Compiled) for event in events) == 2


def test_a_net_of_one_size_and_shares_beyond_one(tmp_path):
    text = config_text(
        optim={"name": "sgd", "learning_rate": 0.1},
        train={"epochs": 0.5, "batch_size": 64},
        train__progressive_resizing={"initial_scale": 0.75},
    )
    with pytest.raises(ConfigError) as caught:
        run.build(settings(tmp_path, "train.progressive_resizing.size_increment=2", text=text))
    assert str(caught.value).startswith(
        "train.progressive_resizing: net.name=conv_pool must take images of every size, as with global pooling before "
        "its last layers; of 6×6: "
    )
    with pytest.raises(ConfigError, match=r"of at most 1 in all; got 0\.5, 4, 0\.3 and 0\.9"):
        run.build(settings(tmp_path, "train.progressive_resizing.finetune_fraction=0.9"))
