"""The package's own namespaces: there by name, and imported only then."""

import subprocess
import sys

import pytest

from jaxconv import port


def test_port_and_models_are_imported_when_they_are_used():
    code = """
import sys, jaxconv as jc
before = {"jaxconv.port", "jaxconv.models"} & set(sys.modules)
print(before, callable(jc.port.load), "conv_pool" in jc.models.registry, "torch" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["set()", "True", "True", "False"]


def test_the_old_name_of_pretrained_warns():
    with pytest.warns(DeprecationWarning, match=r"^jaxconv\.port\.begin is now jaxconv\.port\.pretrained$"):
        assert port.begin is port.pretrained
    with pytest.raises(AttributeError, match="has no attribute 'bgin'"):
        _ = port.bgin
