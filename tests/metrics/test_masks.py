import pytest
import torch

from handkit.metrics import mask_iou, outside_mask_fraction, pixel_accuracy


def test_mask_metrics() -> None:
    pred, target = torch.zeros(2, 4, 5, dtype=torch.bool), torch.zeros(2, 4, 5, dtype=torch.bool)
    pred[0, 1, 1:4] = True
    target[0, 1, 2:5] = True
    iou = mask_iou(pred, target)
    assert iou[0] == 0.5
    assert iou[1].isnan()
    torch.testing.assert_close(pixel_accuracy(pred, target), torch.tensor([0.9, 1.0]).double())
    seen = torch.ones_like(pred)
    seen[0, 1, 1] = False
    assert mask_iou(pred, target, seen)[0] == 2 / 3
    assert pixel_accuracy(pred, target, seen)[0] == 18 / 19


def test_outside_mask_fraction_is_seqhands_eq_11() -> None:
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 1, 2] = True
    points = torch.tensor([[[2.0, 1.0], [2.99, 1.99], [3.0, 1.5], [-9.0, 1.5], [torch.nan, 0.0], [1e30, 0.0]]])
    assert outside_mask_fraction(points, mask)[0] == pytest.approx(4 / 6)
    valid = torch.tensor([[True, False, True, False, False, False]])
    assert outside_mask_fraction(points, mask, valid)[0] == 0.5
