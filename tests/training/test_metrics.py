from __future__ import annotations

import pytest
import torch

from designer_vision.training.metrics import add_to_totals, averages, loss_function, new_totals

CPU = torch.device("cpu")


def test_counts_of_batches_give_the_averages_over_all_images() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(17, 8), torch.randint(8, (17,))
    totals = new_totals(CPU)
    for part in torch.arange(17).split([9, 7, 1]):
        add_to_totals(totals, logits[part], labels[part], loss_function(logits[part], labels[part]))
    result = averages(totals)
    ranks = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
    assert result.seen == 17
    assert result.loss == pytest.approx(loss_function(logits, labels).item(), rel=1e-5)
    assert result.top1 == pytest.approx((ranks < 1).float().mean().item())
    assert result.top5 == pytest.approx((ranks < 5).float().mean().item())
    assert result.error == 1 - result.top1


def test_fewer_than_five_classes_are_all_among_the_first_five() -> None:
    totals = new_totals(CPU)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    add_to_totals(totals, logits, labels, loss_function(logits, labels))
    assert averages(totals).top5 == 1


def test_an_images_loss_counts_as_much_as_its_class_and_the_batch_is_divided_by_its_images() -> None:
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 0, 0, 1, 2, 2])
    weights = torch.tensor([0.5, 2.0, 1.25])
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert loss_function(logits, labels, weights).item() == pytest.approx((each * weights[labels]).mean().item())
    assert loss_function(logits, labels, torch.ones(3)).item() == pytest.approx(loss_function(logits, labels).item())
