"""The text of a config file: the small net on digits that most tests of runs train, with each test's changes."""

import json

SMALL = {"features": [4], "kernel_size": 3, "hidden": []}


def config_text(net=SMALL, *, optim, train, data=None, **sections):
    """A config of `conv_pool` on digits; sections are dicts, one of another section is named as `optim__schedule`."""
    texts = {
        "data": data or {"name": "digits"},
        "net": {"name": "conv_pool", **net},
        "optim": optim,
        **{name.replace("__", "."): section for name, section in sections.items()},
        "train": train,
    }
    return "".join(f"\n[{name}]\n{_lines(section)}" for name, section in texts.items())


def _lines(section):
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())  # TOML writes these as JSON does
