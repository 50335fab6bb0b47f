"""Draw receptive_fields.png, the picture in the README, from a trained run.

jaxconv train configs/mnist.toml epochs=2 --out runs/mnist
python docs/images/receptive_fields.py runs/mnist
"""

import io
import pathlib
import sys

from PIL import Image

from jaxconv.run.plots import draw
from jaxconv.viz.training import png

OUT = pathlib.Path(__file__).with_suffix(".png")


def main(folder: str) -> None:
    figure = draw(folder, ["field"], image=61)["field"]
    with Image.open(io.BytesIO(png(figure))) as image:
        image.convert("RGB").quantize(256).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
