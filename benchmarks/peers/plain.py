"""A plain PyTorch training script, as tutorials write it: float32, PIL and torchvision transforms, two data workers.

    python plain.py FOLDER NETWORK BATCH_SIZE

WORKERS, EPOCHS and PRINT_EVERY in the environment: other numbers than 2, 1 and 1.
"""

from __future__ import annotations

import os
import sys

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision import transforms
from waited import Waited

folder, network_name, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
workers, epochs, every = (int(os.environ.get(name, usual)) for name, usual in (("WORKERS", 2), ("EPOCHS", 1), ("PRINT_EVERY", 1)))
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
dataset = torchvision.datasets.ImageFolder(
    folder,
    transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    ),
)
loader = DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
network = torchvision.models.get_model(network_name, num_classes=len(dataset.classes)).to(device)
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
criterion = torch.nn.CrossEntropyLoss()
network.train()
waited = Waited(loader)
for _ in range(epochs):
    for iteration, (images, labels) in enumerate(waited, start=1):
        loss = criterion(network(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if iteration % every == 0:
            print(f"iteration {iteration}/{len(loader)} loss {loss.item():.3f} waited {waited.seconds:.3f}", flush=True)
