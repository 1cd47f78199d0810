"""A plain PyTorch training script, as tutorials write it: float32, PIL and torchvision transforms, two data workers.

python plain.py FOLDER NETWORK BATCH_SIZE
"""

from __future__ import annotations

import sys

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision import transforms

folder, network_name, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
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
loader = DataLoader(dataset, batch_size, shuffle=True, num_workers=2)
network = torchvision.models.get_model(network_name, num_classes=len(dataset.classes))
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
criterion = torch.nn.CrossEntropyLoss()
network.train()
for iteration, (images, labels) in enumerate(loader, start=1):
    loss = criterion(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"iteration {iteration}/{len(loader)} loss {loss.item():.3f}", flush=True)
