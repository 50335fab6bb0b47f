"""Build hook: the native kernels in wheels and editable installs, where a C++ compiler is; else pure Python."""

import importlib.util
import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface):
    """Compiles jaxconv/engine/native; a failure is reported, and leaves a wheel without it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the library, in place for an editable install, and names the platform in the wheel's tag."""
        if self.target_name != "wheel" or os.environ.get("JAXCONV_NATIVE") == "0":
            return
        build = self._build()
        library = build.LIBRARY
        if version != "editable":
            self._folder = tempfile.TemporaryDirectory()
            library = Path(self._folder.name) / library.name
        try:
            if version != "editable" or not build.is_current():
                build.build(library)
        except (build.BuildError, OSError) as error:
            self.app.display_warning(f"jaxconv is installed without native kernels: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform(build.MACOS)}"
        if version != "editable":
            build_data["force_include"][str(library)] = str(build.LIBRARY.relative_to(self.root))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the compiled library after it has been packed."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def _platform(self, macos: str) -> str:
        """The platform of what the compiler makes, which on macOS is not that of a universal Python."""
        name = f"macosx-{macos}-{platform.machine()}" if sys.platform == "darwin" else sysconfig.get_platform()
        return name.replace("-", "_").replace(".", "_")

    def _build(self) -> ModuleType:
        """jaxconv/engine/native/build.py by itself: the package's own imports are not installed here."""
        path = Path(self.root) / "jaxconv/engine/native/build.py"
        spec = importlib.util.spec_from_file_location("build", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
