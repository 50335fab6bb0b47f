"""torch and torch.nn.functional; where torch is not installed, stand-ins whose use skips the test."""

import pytest

try:
    import torch
    import torch.nn.functional as F
except ImportError:

    class _Missing:
        def __getattr__(self, name):
            if name.startswith("__"):  # asked by tools that look at modules
                raise AttributeError(name)
            pytest.skip("torch is not installed")

    torch = F = _Missing()

__all__ = ["F", "torch"]
