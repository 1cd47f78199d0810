"""timm's dataset, loader, network, optimizer and loss in the loop of its training script, which its package does not ship.

    python timm_loop.py FOLDER NETWORK BATCH_SIZE [default|best|compiled]

`default` is float32; `best` is what is fastest on a CPU: bfloat16 autocast and channels last (on a GPU with timm's prefetcher);
`compiled` is that with torch.compile. Two data workers; random resized crop and flip as the others have them, none of timm's
other augmentation. WORKERS, EPOCHS and PRINT_EVERY in the environment: other numbers than 2, 1 and 1.
"""

from __future__ import annotations

import os
import sys

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from waited import Waited

folder, network_name, batch_size, flags = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
workers, epochs, every = (int(os.environ.get(name, usual)) for name, usual in (("WORKERS", 2), ("EPOCHS", 1), ("PRINT_EVERY", 1)))
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
half = torch.bfloat16 if device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
if device.type == "cuda":  # as its script does
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
dataset = create_dataset("", root=folder, is_training=True)
loader = create_loader(
    dataset,
    input_size=(3, 224, 224),
    batch_size=batch_size,
    is_training=True,
    hflip=0.5,
    color_jitter=None,
    interpolation="bilinear",
    num_workers=workers,
    device=device,
    pin_memory=device.type == "cuda",
)
network = timm.create_model(network_name, num_classes=len(dataset.reader.class_to_idx)).to(device)
if flags != "default":
    network = network.to(memory_format=torch.channels_last)
optimizer = create_optimizer_v2(network, opt="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
criterion = torch.nn.CrossEntropyLoss()
scaler = torch.amp.GradScaler(device.type, enabled=flags != "default" and half == torch.float16)
trained = torch.compile(network) if flags == "compiled" else network
network.train()
waited = Waited(loader)
for _ in range(epochs):
    for iteration, (images, labels) in enumerate(waited, start=1):
        if flags != "default":
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, half, enabled=flags != "default"):
            loss = criterion(trained(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if iteration % every == 0:
            print(f"iteration {iteration}/{len(loader)} loss {loss.item():.3f} waited {waited.seconds:.3f}", flush=True)
