"""What a short script of one process does instead of three components.

python one_process.py convert PHOTOS OUTPUT          decode every photo, copy it, write its size
python one_process.py apply PHOTOS OUTPUT            resize to 256, crop 224, flip at random, write PNG
python one_process.py score IMAGES MODEL             as the classic module: float32, batches of as many images as CPUs
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from PIL import Image

task, folder, other = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
photos = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
start = time.perf_counter()
if task == "convert":
    other.mkdir(parents=True)
    with (other / "images.lst").open("w") as file:
        for number, photo in enumerate(photos):
            with Image.open(photo) as image:
                image.load()
                row = {"file_name": f"{number}.jpg", "width": image.width, "height": image.height}
            shutil.copy(photo, other / f"{number}.jpg")
            file.write(json.dumps(row) + "\n")
elif task == "apply":
    from torchvision import transforms

    other.mkdir(parents=True)
    operations = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.RandomHorizontalFlip()])
    for number, photo in enumerate(photos):
        operations(Image.open(photo).convert("RGB")).save(other / f"{number}.png")
else:
    import torch
    import torchvision
    from torchvision import transforms

    network = torchvision.models.resnet18(num_classes=9).eval()
    network.load_state_dict({name.removeprefix("model."): value for name, value in torch.load(other / "model").items()})
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    start = time.perf_counter()
    size = os.cpu_count() or 1
    with torch.no_grad():
        for begin in range(0, len(photos), size):
            images = torch.stack([to_tensor(Image.open(photo).convert("RGB")) for photo in photos[begin : begin + size]])
            torch.softmax(network(images), dim=1).tolist()
print(f"{len(photos)} images, {len(photos) / (time.perf_counter() - start):.1f} images/s")
