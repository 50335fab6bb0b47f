"""Accuracy against seconds of the record runs, beside torch.

python experiments/records/curves.py add RUN cifar10_94    # a finished run's metrics -> cifar10_94/jaxconv-0.jsonl
python experiments/records/curves.py draw                  # all of them -> docs/images/records.png

Each line of such a file is {"step", "seconds", "accuracy"}: of training, without compilation and evaluation; the last
one has "test_accuracy". `peer.py` writes the same for torch.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from jaxconv.run.records import read_lines, read_result
from jaxconv.run.settings import settings_of
from jaxconv.viz.palette import BLUE, ORANGE

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs/images/records.png"
COLORS = {"jaxconv": BLUE, "torch": ORANGE}


def add(run: Path, record: str) -> None:
    """Write the metrics of a finished run into the folder of its record."""
    result, batch = read_result(run), settings_of(run).train.batch_size
    lines, seconds, before = [], 0.0, 0
    for line in read_lines(run):
        if "images_per_second" in line:
            seconds += (line["step"] - before) * batch / line["images_per_second"]
            before = line["step"]
            lines.append({"step": before, "seconds": round(seconds, 2), "accuracy": round(line["accuracy"], 4)})
    lines.append({"step": before, "seconds": round(seconds, 2), "test_accuracy": result["test_accuracy"]})
    path = HERE / record / f"jaxconv-{result['seed']}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def draw() -> None:
    """Draw a panel for each record: training accuracy as lines, test accuracy as dots."""
    records = sorted(path for path in HERE.iterdir() if any(path.glob("*.jsonl")))
    figure = Figure(figsize=(4.2 * len(records), 3.6), layout="constrained")
    for axes, record in zip(figure.subplots(1, len(records), squeeze=False)[0], records, strict=True):
        for path in sorted(record.glob("*.jsonl")):
            name, seed = path.stem.split("-")
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            training, tested = [line for line in lines if "accuracy" in line], lines[-1]
            seconds, accuracy = ([line[key] for line in training] for key in ("seconds", "accuracy"))
            axes.plot(seconds, accuracy, color=COLORS[name])
            if "test_accuracy" in tested:
                label = f"{name}, seed {seed}: {tested['test_accuracy']:.2%}".replace("%", " %")
                axes.plot(tested["seconds"], tested["test_accuracy"], "o", color=COLORS[name], label=label)
        axes.set(title=record.name, xlabel="seconds of training", ylabel="accuracy", ylim=(0.5, 1.005))
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}".replace("%", " %"))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize=8)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Add a run, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add")
    adding.add_argument("run", type=Path)
    adding.add_argument("record")
    commands.add_parser("draw")
    args = parser.parse_args()
    if args.command == "add":
        add(args.run, args.record)
    else:
        draw()


if __name__ == "__main__":
    main()
