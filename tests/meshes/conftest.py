"""Everything here runs on eight CPU devices, in a process of its own: `test_process.py` starts it."""

import jax
import pytest

DEVICES = 8


def pytest_collection_modifyitems(items):
    if jax.device_count() < DEVICES:
        for item in items:
            if "meshes" in item.path.parts and item.path.name != "test_process.py":
                item.add_marker(pytest.mark.skip(reason=f"needs {DEVICES} devices: run by test_process.py"))


@pytest.fixture
def mesh():
    """JAX's default mesh, whose axis is explicit, of half the devices."""
    return jax.make_mesh((4,), ("data",))


@pytest.fixture
def auto_mesh():
    """The same devices, split as the compiler likes outside of `shard_map`."""
    return jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
