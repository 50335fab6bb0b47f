"""These tests need ONNX and ONNX Runtime."""

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
