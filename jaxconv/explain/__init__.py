"""Explanations of shapes, and of predictions.

Why a network rejects an input, and which inputs it accepts:

jc.explain.smallest_input(net, channels=3)  # (16, 16)
jc.explain.output_shapes(net, [28, 32, (28, 40)], channels=3)  # {28: (1, 4, 4, 40), ...}
print(jc.explain.diagnose(net, x, error))  # the layer, the formula with its numbers, the cause, the fix

What a prediction depends on: pure functions of any JAX function f from images to class scores.

f = lambda x: net.apply(params, state, x)[0]
jc.explain.integrated_gradients(f, x, target=3)  # [N, H, W, C]
jc.explain.grad_cam(jc.explain.at_layer(net, params, state, "layer4"), x)  # [N, H, W], of the predicted class
jc.explain.saliency(f, x, jc.explain.pixel_score(3, mask))  # of a segmentation: class 3 over the pixels of a mask
"""

from jaxconv.explain.adversarial import fgsm, pgd
from jaxconv.explain.class_activation import grad_cam, grad_cam_plus_plus
from jaxconv.explain.diagnosis import diagnose
from jaxconv.explain.embedding import Components, Neighbors, nearest_neighbors, principal_components, tsne
from jaxconv.explain.gradients import guided_backprop, integrated_gradients, saliency, smooth_grad
from jaxconv.explain.occluding import occlusion
from jaxconv.explain.probes import Probe, at_layer, at_split
from jaxconv.explain.scores import pixel_score
from jaxconv.explain.sizes import output_shapes, smallest_input
from jaxconv.explain.synthesis import invert_features, maximize_activation, total_variation

__all__ = [
    "Components", "Neighbors", "Probe", "at_layer", "at_split", "diagnose", "fgsm", "grad_cam", "grad_cam_plus_plus",
    "guided_backprop", "integrated_gradients", "invert_features", "maximize_activation", "nearest_neighbors",
    "occlusion", "output_shapes", "pgd", "pixel_score", "principal_components", "saliency", "smallest_input",
    "smooth_grad", "total_variation", "tsne",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
