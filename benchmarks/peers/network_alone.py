"""The network's steps on one batch that is in memory: bfloat16, channels last, freed memory kept. No data, no logging.

    python network_alone.py - NETWORK BATCH_SIZE IMAGES [compiled]

On a GPU in float16, without loss scaling, where that has no bfloat16. PRINT_EVERY in the environment: another number than 1.
"""

from __future__ import annotations

import os
import sys

import torch
import torchvision

from designer_vision.runtime.machine import keep_freed_memory

network_name, batch_size, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
every = int(os.environ.get("PRINT_EVERY", 1))
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
half = torch.bfloat16 if device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
keep_freed_memory()
torch.backends.cudnn.benchmark = True
network = torchvision.models.get_model(network_name, num_classes=9).to(device).to(memory_format=torch.channels_last).train()
trained = torch.compile(network, dynamic=False, mode="reduce-overhead") if sys.argv[5:] == ["compiled"] else network
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)
images = torch.randn(batch_size, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)
labels = torch.arange(batch_size, device=device) % 9
iterations = count // batch_size
for iteration in range(1, iterations + 1):
    with torch.autocast(device.type, half):
        logits = trained(images)
    loss = torch.nn.functional.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if iteration % every == 0:
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(f"iteration {iteration}/{iterations}", flush=True)
