"""The entry point; it stands apart from the commands so that it runs with the core alone."""

import io
import sys

from jaxconv._base.interrupt import at_the_command_line

# What the extra "train" brings, by the names that are imported.
_EXTRA = (
    *("typer", "rich", "pydantic", "tomli_w", "safetensors", "sklearn", "PIL", "platformdirs", "click"),
    *("matplotlib", "tensorboardX", "orbax", "grain", "docstring_parser", "filelock"),
)


def main() -> None:
    """Run the command line, or say in one line which extra it wants."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks must not end a command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from jaxconv.cli.commands import app

        with at_the_command_line():
            app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            'jaxconv: this command needs the "train" extra: python -m pip install "jaxconv[train]"',
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
