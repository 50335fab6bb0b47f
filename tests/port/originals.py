"""torchvision and timm themselves, where they are installed."""

import importlib.util
import sys
import warnings

import pytest

torch = pytest.importorskip("torch")

# What torchvision's own library of operators declares. None of them is a net's.
OPERATORS = (
    "roi_align", "_roi_align_backward", "ps_roi_align", "_ps_roi_align_backward", "roi_pool", "_roi_pool_backward",
    "ps_roi_pool", "_ps_roi_pool_backward", "nms", "qnms", "qroi_align", "deform_conv2d", "_deform_conv2d_backward",
)  # fmt: skip
_declared = []  # a library lives as long as what it declares


def original(name):
    """The package of that name; skips the test where there is none.

    The torchvision of the package registry is built for torch with CUDA. Beside a torch without it cannot load its
    operators, and says so of the first that it misses: then they are declared here, without a body.
    """
    if importlib.util.find_spec(name) is None or importlib.util.find_spec("torchvision") is None:
        pytest.skip(f"{name} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
        for module in [module for module in sys.modules if module.split(".")[0] in ("torchvision", "timm")]:
            del sys.modules[module]
        _declared.append(torch.library.Library("torchvision", "DEF"))
        for operator in OPERATORS:
            _declared[0].define(f"{operator}(Tensor x) -> Tensor")
        return importlib.import_module(name)


def build(source, name):
    """torchvision's or timm's net of that name, with weights drawn anew and without side classifiers."""
    package = original(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source == "timm":
            return package.create_model(name)
        words = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        return getattr(package.models, name)(**words)
