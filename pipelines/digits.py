"""Write scikit-learn's 1,797 handwritten digits as PNG files in class folders: the demo's photos.

python pipelines/digits.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path) -> None:
    """Write `<digit>/<number>.png`, grey, 8 x 8 pixels; the data set's 17 levels are spread over 0 to 255.

    A folder that is there stays as it is: files with a new date would have a run begin anew.
    """
    if folder.exists():
        return
    digits, unfinished = load_digits(), folder.with_suffix(".unfinished")
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = unfinished / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(path)
    unfinished.rename(folder)


if __name__ == "__main__":
    write_digits(Path(sys.argv[1]))
