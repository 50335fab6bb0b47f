"""The compiled kernels in this process: loaded, checked and registered with XLA once, when first needed.

Three variables: `JAXCONV_NATIVE=0` disables the kernels, `JAXCONV_WINOGRAD=0` only those by Winograd's transforms, and
`JAXCONV_NATIVE_ISA` names the instruction set ("x86-64-v4", "x86-64-v3", "baseline") in place of the widest that the
processor has.
"""

import ctypes
import functools
import os
from pathlib import Path

import jax

from jaxconv._base.errors import ConfigError
from jaxconv.engine.native.build import LIBRARY, digest, ffi_version, load

BUILD = "python -m jaxconv.engine.native"
KINDS = ("dense", "depthwise", "winograd4", "winograd2")
TARGETS = (
    *(f"jaxconv_{kind}_{slot}" for kind in KINDS for slot in "ykx"),
    *(
        f"jaxconv_{name}"
        for name in ("moments", "sums", "layer_norm", "layer_norm_gradient", "first_maximum", "window_sum", "resample")
    ),
)
ISAS = ("x86-64-v4", "x86-64-v3", "baseline")
"""The instruction sets that kernels may be compiled for, the widest first."""


def available() -> bool:
    """Whether the kernels can be called in this process."""
    return reason() is None


@functools.cache
def reason() -> str | None:
    """Why the kernels cannot be called, with the command that changes it; None if they can.

    Raises:
      ConfigError: if `JAXCONV_NATIVE_ISA` names an instruction set that the kernels or the processor lack.
    """
    if os.environ.get("JAXCONV_NATIVE") == "0":
        return "JAXCONV_NATIVE=0"
    if not LIBRARY.exists():
        return f"not compiled; run {BUILD}"
    try:
        version = _library().jaxconv_ffi_version()
        if _library().jaxconv_sources().decode() != digest():
            return f"compiled from other sources; run {BUILD}"
        handlers = {target: getattr(_library(), target) for target in TARGETS}
    except (OSError, AttributeError) as error:
        return f"{error}; run {BUILD}"
    mine = ffi_version(Path(jax.ffi.include_dir()))
    if mine is None or version // 1000 != mine // 1000 or version > mine:  # XLA would then start no CPU backend at all
        return f"compiled with the headers of another jaxlib; run {BUILD}"
    word = os.environ.get("JAXCONV_NATIVE_ISA")
    if word and not select_isa(word):
        raise ConfigError(
            f"JAXCONV_NATIVE_ISA must be one of {', '.join(ISAS)}, and available on this processor; got {word!r}"
        )
    for target, handler in handlers.items():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
    return None


def winograd_enabled() -> bool:
    """Whether Winograd's transforms may be used: not with `JAXCONV_WINOGRAD=0`."""
    return os.environ.get("JAXCONV_WINOGRAD") != "0"


def isa() -> str:
    """The instruction set in use."""
    reason()  # selects the one that the variable names
    return str(_library().jaxconv_isa().decode())


def select_isa(name: str | None) -> bool:
    """Uses another instruction set from now on, in compiled programs too; None is the widest.

    Returns:
      False if the kernels or the processor lack it.
    """
    return bool(_library().jaxconv_select_isa(name and name.encode()))


@functools.cache
def _library() -> ctypes.CDLL:
    library = load(LIBRARY)
    library.jaxconv_isa.restype = ctypes.c_char_p
    library.jaxconv_select_isa.argtypes = [ctypes.c_char_p]
    return library
