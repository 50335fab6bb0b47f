"""Compile the native kernels for this checkout: `python -m jaxconv.engine.native`."""

import sys

from jaxconv.engine.native.build import BuildError, build

if __name__ == "__main__":
    try:
        print(build())
    except BuildError as failed:
        sys.exit(f"jaxconv: {failed}")
