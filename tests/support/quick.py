"""Compiler options for tests that ask what a program computes, not how fast."""

import contextlib

import jax

QUICK = {"xla_backend_optimization_level": 0}  # 60 % of the compile time; the HLO passes stay as they are
OLDER = {"xla_cpu_use_fusion_emitters": False}  # the other code generator for CPUs: sooner done


def first_known(*choices):
    """The first of several sets of options that this jaxlib knows; None where it knows none."""
    for words in choices:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda x: x + 1, compiler_options=words)(1.0)
            return words
    return None
