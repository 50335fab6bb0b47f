"""Train from a config file in a script: `jaxconv train` in a few lines.

python experiments/train.py --config configs/digits.toml train.epochs=5 --out runs/mine
"""

import argparse
from pathlib import Path

from rich.console import Console

from jaxconv import run
from jaxconv.cli import display
from jaxconv.run import config


def main() -> None:
    """Read the arguments, train, and print the test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="folder of this run; runs/<config>-<time> if not given")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    args = parser.parse_intermixed_args()

    settings = config.read(args.config, args.overrides)
    with display.progress(Console()) as report:
        result = run.train(settings, args.out or run.new_folder(args.config.stem), report)
    print(f"test accuracy {result['test_accuracy']:.4f}")


if __name__ == "__main__":
    main()
