"""For the native kernels' tests: each instruction set."""

import pytest

from jaxconv.engine import native


@pytest.fixture(params=native.ISAS)
def isa(request):
    """Each instruction set that the kernels and the processor have."""
    if not native.available() or not native.select_isa(request.param):
        pytest.skip(f"{request.param} is not available")
    yield request.param
    native.select_isa(None)
