"""The same batches as data_loader.py's by our loader.

python our_loader.py FOLDER WORKERS IMAGES
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

import designer_vision.formats.image_list  # noqa: F401 (which would be loaded while the time runs)
from designer_vision.data.dataset import Asked, ImageDataset
from designer_vision.data.epoch_order import batches, epoch_order
from designer_vision.data.loader import Loader
from designer_vision.data.transforms import EvaluationTransform, Normalize
from designer_vision.formats.image_directory import read_image_directory

start = time.perf_counter()
index = read_image_directory(Path(sys.argv[1]).parent).subset(np.arange(int(sys.argv[3])))
fit = EvaluationTransform([], (64, 64))
loader = Loader([ImageDataset(index, fit, fit.size)], int(sys.argv[2]), torch.device("cpu"))
normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
for batch in loader.batches(Asked(1, indices) for indices in batches(epoch_order(len(index), 1, 1), 32)):
    normalize(batch.images)
print(f"{len(index)} images read, {len(index) / (time.perf_counter() - start):.1f} images/s")
