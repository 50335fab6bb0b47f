"""Compile the native kernels for this installation and its jaxlib: `python -m jaxconv.engine.native`."""

import sys

from jaxconv.engine.native.build import HEADERS, LIBRARY, BuildError, build, installed_headers

if __name__ == "__main__":
    try:
        print(build(LIBRARY, installed_headers() or HEADERS))
    except BuildError as failed:
        sys.exit(f"jaxconv: {failed}")
