"""A new head for a network that has learned before: fitted to its features first, then all is trained together.

From random weights a new head sends random gradients through the layers that know something already, and needs most of a short
training to come to a first use (Kumar et al. 2022, arXiv 2202.10054: linear probing, then fine-tuning).
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from designer_vision.console import say
from designer_vision.loader import Asked, Indices, batches, epoch_order, shard
from designer_vision.training.ranks import Ranks
from designer_vision.training.trainer import TRAINING, Trainer

FEWEST_SEEN, SEEN_A_CLASS = 1000, 20
"""Images that the head is fitted to: all up to the first number; of more, that many or so many a class. More of them would take
longer and make little difference to where the training ends."""
PENALTY = 0.01
"""Of the squared weights, beside the mean cross-entropy, where features have a standard deviation of 1."""
MOST_ITERATIONS = 100


def fit_new_head(trainer: Trainer, layer: nn.Linear) -> None:
    """Give the last layer of a trainer's network the weights that predict best from what comes into it.

    Every rank calls this; afterwards all have the same weights.

    Args:
        trainer: which has not begun.
        layer: changed in place.

    Raises:
        DesignerError: an image cannot be read; on the rank that reads it.
    """
    began = time.monotonic()
    images = len(trainer.training)
    seen = min(images, max(FEWEST_SEEN, SEEN_A_CLASS * layer.out_features))
    rows = epoch_order(images, trainer.parameters.torch_seed, 0)[:seen]
    features, labels = features_of(trainer, layer, rows)
    solved = None
    if trainer.ranks.is_main:
        trainer.ranks.note("fitting the new head")
        solved = fit(features, labels, layer.out_features)
    solved = trainer.ranks.told_by_main(solved)
    assert solved is not None
    weight, bias, right = solved
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    if trainer.ranks.is_main:
        seconds = time.monotonic() - began
        say(f"new head: fitted to {seen:,} images in {seconds:.1f} s, {right:.1%} of them right; now all layers are trained")


def features_of(trainer: Trainer, layer: nn.Linear, rows: Indices) -> tuple[Tensor, Tensor]:
    """What comes into a layer for some training images, and their labels.

    Args:
        trainer: whose ranks share the work.
        layer: of its network.
        rows: of its training images.

    Returns:
        Float64 [rows, features] and int64 [rows], of all ranks, on the CPU; padded so that ranks have equally many.
    """
    found: list[Tensor] = []
    labels: list[Tensor] = []
    own = shard(rows, trainer.ranks.rank, trainer.ranks.world_size)
    plan = (Asked(0, batch, TRAINING) for batch in batches(own, trainer.parameters.batch_size))
    hook = layer.register_forward_pre_hook(lambda layer, given: found.append(given[0].double().cpu()))
    trainer.network.eval()
    try:
        with torch.inference_mode(), trainer.autocast():
            for batch in trainer.loader.batches(plan):
                trainer.ranks.note("computing features")
                images, _ = trainer.to_device(batch)
                trainer.network(trainer.normalize(images))
                labels.append(batch.labels)
    finally:
        hook.remove()
    return gathered(trainer.ranks, torch.cat(found)), gathered(trainer.ranks, torch.cat(labels))


def gathered(ranks: Ranks, values: Tensor) -> Tensor:
    """All ranks' rows, one rank's after the other's."""
    return ranks.gather(values.clone()).flatten(0, 1)


def fit(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, float]:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS.

    Args:
        features: float64 [n, features].
        labels: int64 [n].
        classes: number of logits.

    Returns:
        Weight [classes, features], bias [classes], and the share of the images that they call rightly.
    """
    mean, scale = features.mean(dim=0), features.std().clamp_min(1e-6)
    standard = (features - mean) / scale
    weight = torch.zeros(classes, features.shape[1], dtype=features.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=MOST_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(standard @ weight.T + bias, labels) + PENALTY / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        right = float(((standard @ weight.T + bias).argmax(dim=1) == labels).double().mean())
        weight = weight / scale
        return weight, bias - weight @ mean, right
