"""Batches of the images below a folder by torch's DataLoader, as tutorials use it: PIL, torchvision transforms, no network.

python data_loader.py FOLDER WORKERS IMAGES
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

TO_TENSOR = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])


class Images(Dataset[Tensor]):
    """The first images of a folder, by name."""

    def __init__(self, folder: Path, images: int) -> None:
        self._paths = sorted(folder.iterdir())[:images]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        tensor: Tensor = TO_TENSOR(Image.open(self._paths[index]).convert("RGB"))
        return tensor


start = time.perf_counter()
images = Images(Path(sys.argv[1]), int(sys.argv[3]))
for _ in DataLoader(images, 32, shuffle=True, num_workers=int(sys.argv[2])):
    pass
print(f"{len(images)} images read, {len(images) / (time.perf_counter() - start):.1f} images/s")
