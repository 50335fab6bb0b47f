"""Code in a Python process of its own: XLA and our engine read some settings only once."""

import os
import subprocess
import sys
import textwrap


def run(code, **env):
    """Run code with changes to the environment; its output is captured."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=280,
    )
