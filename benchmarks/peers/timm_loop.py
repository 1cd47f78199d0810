"""timm's dataset, loader, network, optimizer and loss in the loop of its training script, which its package does not ship.

    python timm_loop.py FOLDER NETWORK BATCH_SIZE [default|best]

`default` is float32; `best` is what is fastest on a CPU: bfloat16 autocast and channels last. Two data workers; random
resized crop and flip as the others have them, none of timm's other augmentation.
"""

from __future__ import annotations

import sys

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2

folder, network_name, batch_size, flags = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
device = torch.device("cpu")
dataset = create_dataset("", root=folder, is_training=True)
loader = create_loader(
    dataset,
    input_size=(3, 224, 224),
    batch_size=batch_size,
    is_training=True,
    hflip=0.5,
    color_jitter=None,
    interpolation="bilinear",
    num_workers=2,
    device=device,
)
network = timm.create_model(network_name, num_classes=len(dataset.reader.class_to_idx))
if flags == "best":
    network = network.to(memory_format=torch.channels_last)
optimizer = create_optimizer_v2(network, opt="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
criterion = torch.nn.CrossEntropyLoss()
network.train()
for iteration, (images, labels) in enumerate(loader, start=1):
    if flags == "best":
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=flags == "best"):
        loss = criterion(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"iteration {iteration}/{len(loader)} loss {loss.item():.3f}", flush=True)
