"""A small residual network whose derivatives have no jumps, named by configs as support.smooth_net:smooth_net.

Runs on other devices differ by rounding. A ReLU whose input is 0 up to rounding, and the many equal patches of the
digits' margins that share this input, turn that into another gradient: once or twice in fifty steps, on some processor.
"""

import jax

import jaxconv as jc

NAME = "support.smooth_net:smooth_net"


def smooth_net(num_classes, width):
    def conv(features, size, stride=1):
        return jc.chain(jc.Conv(features, size, stride=stride, padding="same", bias=False), jc.BatchNorm())

    def block(features, stride):
        body = jc.chain(conv(features, 3, stride), jax.nn.silu, conv(features, 3))
        shortcut = conv(features, 1, stride) if stride > 1 else None
        return jc.chain(jc.residual(body, shortcut), jax.nn.silu)

    return jc.chain(
        conv(width, 3), jax.nn.silu,
        block(width, 1), block(2 * width, 2), block(4 * width, 2),
        jc.global_avg_pool, jc.Dense(num_classes),
    )  # fmt: skip
