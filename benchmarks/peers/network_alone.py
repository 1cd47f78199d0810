"""The network's steps on one batch that is in memory: bfloat16, channels last, freed memory kept. No data, no logging.

python network_alone.py - NETWORK BATCH_SIZE IMAGES
"""

from __future__ import annotations

import sys

import torch
import torchvision

from designer_vision.machine import keep_freed_memory

network_name, batch_size, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
keep_freed_memory()
network = torchvision.models.get_model(network_name, num_classes=9).to(memory_format=torch.channels_last).train()
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)
images = torch.randn(batch_size, 3, 224, 224).contiguous(memory_format=torch.channels_last)
labels = torch.arange(batch_size) % 9
iterations = count // batch_size
for iteration in range(1, iterations + 1):
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    loss = torch.nn.functional.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    print(f"iteration {iteration}/{iterations}", flush=True)
