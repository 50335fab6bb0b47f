"""What `accelerate` replaced in a function."""

import re

import jax

import jaxconv as jc


def replaced(f, *args):
    """How many norms, and how many of their gradients, run on the engine's primitives."""
    text = str(jax.make_jaxpr(jc.accelerate(f))(*args))
    return len(re.findall(r"= jaxconv_normalize\[", text)), len(re.findall(r"= jaxconv_normalize_gradient\[", text))
