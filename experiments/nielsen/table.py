"""Reproduction of Nielsen's table, in jaxconv and torch.

    JAXCONV_DATA=… python experiments/nielsen/table.py --out runs/nielsen            # ours: a run for each seed
    JAXCONV_DATA=… python experiments/nielsen/table.py --out runs/nielsen --torch    # torch: seed 0 of each row
    JAXCONV_DATA=… python experiments/nielsen/table.py --out runs/nielsen --rows conv2_relu --seeds 0

Finished runs are not repeated, and interrupted ones resume; `table.md` in the folder summarizes all of them. See
`results.md` for the measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

from peer import train_torch

from jaxconv import run
from jaxconv._base.files import write_atomically
from jaxconv.run import config

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: his net and figure, and what it changes in `base.toml`."""

    net: str
    published: float
    changes: tuple[str, ...]


DECAY = "optim.weight_decay=0.1"
SIGMOID = 'net.activation="sigmoid"'
EXPANDED = ("augment.expand=1", "epochs=8", DECAY)
DROPOUT = (
    "data.validation=0",
    "net.hidden=[1000, 1000]",
    "net.dropout=0.5",
    "augment.expand=1",
    "augment.rotate=10",
    "epochs=16",
    "optim.learning_rate=2e-3",
    "train.label_smoothing=0.1",
    DECAY,
)
ROWS = {
    "fc": Row(
        "FC 100, sigmoid",
        97.80,
        (
            "net.features=[]",
            "net.hidden=[100]",
            SIGMOID,
            "epochs=20",
            "optim.learning_rate=5e-3",
            DECAY,
        ),
    ),
    "conv1": Row(
        "conv 20, pool, FC 100, sigmoid",
        98.78,
        (
            "net.features=[20]",
            "net.hidden=[100]",
            SIGMOID,
            "epochs=6",
            "optim.learning_rate=1e-2",
            DECAY,
        ),
    ),
    "conv2": Row(
        "conv 20, pool, conv 40, pool, FC 100, sigmoid",
        99.06,
        ("net.hidden=[100]", SIGMOID, "epochs=6", "optim.learning_rate=5e-3", DECAY),
    ),
    "relu": Row("the same, ReLU", 99.23, ("net.hidden=[100]",)),
    "expanded": Row("the same, expanded data", 99.37, ("net.hidden=[100]", *EXPANDED)),
    "fc300": Row("expanded, FC 300", 99.46, ("net.hidden=[300]", *EXPANDED)),
    "fc1000": Row("expanded, FC 1000", 99.43, ("net.hidden=[1000]", *EXPANDED)),
    "two100": Row("expanded, two FC 100", 99.43, ("net.hidden=[100, 100]", *EXPANDED)),
    "two300": Row("expanded, two FC 300", 99.48, ("net.hidden=[300, 300]", *EXPANDED)),
    "two1000": Row("expanded, two FC 1000", 99.47, ("net.hidden=[1000, 1000]", *EXPANDED)),
    "dropout": Row("expanded, two FC 1000, dropout 0.5", 99.60, DROPOUT),
    "vote": Row("vote of five of those", 99.67, (*DROPOUT, "ensemble.size=5")),
}


def main() -> None:
    """Run what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nielsen"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--torch", action="store_true", help="train the same nets in torch, seed 0")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    args = parser.parse_intermixed_args()
    for name in args.rows:
        row = ROWS[name]
        seeds = args.seeds[:1] if name == "vote" or args.torch else args.seeds
        for seed in seeds:
            folder = args.out / f"{name}-{seed}"
            settings = config.read(HERE / "base.toml", [*row.changes, f"train.seed={seed}", *args.overrides])
            if args.torch:
                found = train_torch(settings)
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / "torch.json", json.dumps(found).encode())
                print(f"{name}: torch {found['accuracy']:.2%} in {found['seconds']:.0f} s", flush=True)
                continue
            if not (folder / "result.json").exists():
                go = run.resume if (folder / "config.toml").exists() else None
                result = go(folder) if go else run.train(settings, folder)
                print(f"{name}, seed {seed}: {accuracy(name, result):.2%} in {seconds(result):.0f} s", flush=True)
    write_atomically(args.out / "table.md", table(args.out).encode())


def accuracy(name: str, result: dict) -> float:
    """What the row is held to."""
    return result["test_vote_accuracy"] if name == "vote" else result["test_accuracy"]


def seconds(result: dict) -> float:
    """The whole command."""
    return result["seconds"]["total"]


def accuracies(folder: Path, name: str) -> list[float]:
    """A row's accuracy for each seed that there is; the members of the vote are runs of the row before it."""
    found = {
        path.parent.name: accuracy(name, json.loads(path.read_text())) for path in folder.glob(f"{name}-*/result.json")
    }
    vote = folder / "vote-0" / "result.json"
    if name == "dropout" and vote.exists():
        members = json.loads(vote.read_text())["test_member_accuracies"]
        found = {f"dropout-{seed}": share for seed, share in enumerate(members)} | found
    return [found[key] for key in sorted(found)]


def table(folder: Path) -> str:
    """All that the folder holds, in Markdown."""
    lines = [
        "| net | published % | jaxconv %, each seed | mean % | epochs | s | torch % | torch s |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in ROWS.items():
        shares = accuracies(folder, name)
        if not shares:
            continue
        results = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}-*/result.json"))]
        epochs = config.read(HERE / "base.toml", list(row.changes)).train.epochs
        torch_file = folder / f"{name}-0" / "torch.json"
        peer = json.loads(torch_file.read_text()) if torch_file.exists() else None
        cells = [
            row.net,
            f"{row.published:.2f}",
            ", ".join(f"{100 * share:.2f}" for share in shares),
            f"{100 * statistics.mean(shares):.2f}",
            f"{epochs:g}",
            f"{min(map(seconds, results)):.0f}" if results else "",
            f"{100 * peer['accuracy']:.2f}" if peer else "",
            f"{peer['seconds']:.0f}" if peer else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
