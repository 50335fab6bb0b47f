"""Shape diagnosis: why a network rejects an input, and which inputs it accepts.

jc.explain.smallest_input(net, channels=3)  # (16, 16)
jc.explain.output_shapes(net, [28, 32, (28, 40)], channels=3)  # {28: (1, 4, 4, 40), ...}
print(jc.explain.diagnose(net, x, error))  # the layer, the formula with its numbers, the cause, the fix
"""

from jaxconv.explain.diagnosis import diagnose
from jaxconv.explain.sizes import output_shapes, smallest_input

__all__ = ["diagnose", "output_shapes", "smallest_input"]


def __dir__() -> list[str]:
    return sorted(__all__)
