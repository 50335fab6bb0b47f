"""Build hook: the native kernels in wheels and editable installs, where a C++ compiler is; else pure Python."""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HEADERS = "jaxlib==0.10.0"
"""The oldest jaxlib that the package supports: its FFI is understood by every later one."""


class NativeBuildHook(BuildHookInterface):
    """Compiles jaxconv/engine/native; a failure is reported and leaves a wheel without it."""

    def dependencies(self) -> list[str]:
        """What the build environment needs beside hatchling: XLA's headers, if there is a compiler to read them."""
        return [HEADERS] if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the library in place and adds it to the wheel, whose tag then names the platform."""
        if not self._wanted():
            return
        build = self._build()
        try:
            library = build.build()
        except build.BuildError as error:
            self.app.display_warning(f"jaxconv is installed without native kernels: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(str(library.relative_to(self.root)))

    def _wanted(self) -> bool:
        if self.target_name != "wheel" or os.environ.get("JAXCONV_NATIVE") == "0":
            return False
        return sys.platform in ("linux", "darwin") and self._build().compiler() is not None

    def _build(self) -> ModuleType:
        """jaxconv/engine/native/build.py by itself: the package's own imports are not installed here."""
        path = Path(self.root) / "jaxconv/engine/native/build.py"
        spec = importlib.util.spec_from_file_location("build", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
