"""Attributions on a run's page: what its worst predictions depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import explain
from jaxconv.augment import normalize
from jaxconv.data import Dataset
from jaxconv.explain.probes import map_layers
from jaxconv.run.explanations import last_maps
from jaxconv.run.finished import Member
from jaxconv.run.tasks import Case
from jaxconv.viz.explanations import Map, map_colors
from jaxconv.viz.page import small_picture

__all__ = ["attributions"]

_DIMMED = 0.3


def attributions(cases: Sequence[Case], dataset: Dataset[Any], member: Member) -> dict[str, Any]:
    """Grad-CAM and saliency of predictions, as small pictures.

    Args:
      cases: the predictions.
      dataset: with their test images.
      member: the net in float32.

    Returns:
      What the page shows of them, see `jaxconv/viz/page/page.js`; nothing without cases, or of images that have
      neither 1 nor 3 channels.
    """
    if not cases or dataset.image_shape[-1] not in (1, 3):
        return {}
    images = np.stack([dataset.test[case.image][0] for case in cases])
    regions = None if cases[0].where is None else np.stack([np.asarray(case.where) for case in cases])
    layer, maps = _maps(images, np.array([case.label for case in cases]), regions, dataset, member)
    names = ["image", *(["pixels"] if regions is not None else []), *maps]
    items = []
    for k, case in enumerate(cases):
        image, shown = images[k], [np.clip(images[k] / dataset.peak, 0, 1)]
        if case.where is not None:
            shown.append(np.where(case.where[..., None], 1, _DIMMED) * shown[0])
        shown += [map_colors(image, Map("", heat[k], signed=False), dataset.peak) for heat in maps.values()]
        items.append({"words": case.words, "src": [small_picture(each) for each in shown]})
    return {"attributions": {"names": names, "layer": layer, "items": items}}


def _maps(
    images: np.ndarray, labels: np.ndarray, regions: np.ndarray | None, dataset: Dataset[Any], member: Member
) -> tuple[str, dict[str, np.ndarray]]:
    """The layer of Grad-CAM, empty if there is none, and the maps [N, H, W] by method."""
    net, params, state, _ = member
    struct = jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32)
    layer = last_maps(map_layers(net, params, state, struct), dense=regions is not None)

    def compute(params: Any, state: Any, images: Any, labels: Any, regions: Any) -> dict[str, jax.Array]:
        x = normalize(jnp.asarray(images, jnp.float32), dataset.mean, dataset.std)
        target = labels if regions is None else explain.pixel_score(labels, regions)
        found = {"saliency": explain.saliency(lambda x: net.apply(params, state, x)[0], x, target)}
        if layer:
            found["Grad-CAM"] = explain.grad_cam(explain.at_layer(net, params, state, layer), x, target)
        return found

    found = jax.jit(compute)(params, state, images, labels, regions)
    return layer, {name: np.asarray(found[name]) for name in ("Grad-CAM", "saliency") if name in found}
