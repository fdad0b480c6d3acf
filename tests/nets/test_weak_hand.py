"""The 26 numbers: their order, and what zeros mean."""

import pytest
import torch

from handkit.nets import REST_SCALE, read_parameters
from handkit.nets.weak_hand import ParameterLayer, parameter_head


def test_convention_order_and_rest() -> None:
    hand = read_parameters(torch.arange(26.0))
    assert hand.pca.tolist() == list(range(10))
    assert hand.betas.tolist() == list(range(10, 20))
    assert hand.shift.tolist() == [21, 22]
    assert hand.orient.tolist() == [23, 24, 25]
    rest = read_parameters(torch.zeros(2, 5, 26))
    assert rest.scale.shape == (2, 5)
    assert torch.equal(rest.scale, torch.full((2, 5), REST_SCALE))
    assert REST_SCALE == 3.0


def test_scale_is_the_exponential_and_positive_and_finite_everywhere() -> None:
    parameters = torch.zeros(5, 26)
    parameters[:, 20] = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4])
    scale = read_parameters(parameters).scale
    assert (scale > 0).all()
    assert scale.isfinite().all()
    torch.testing.assert_close(scale[1:4], 3 * torch.tensor([-1.0, 0.0, 1.0]).exp())


@pytest.mark.parametrize("size", [0.1, 1.0])
def test_layer_starts_within_some_tenths_of_zero(size: float) -> None:
    torch.manual_seed(0)
    numbers = ParameterLayer(256, size=size)(size * torch.randn(100, 256))
    assert 0.05 < numbers.std() < 0.2


def test_layer_keeps_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    head = parameter_head(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = head[:-1](torch.randn(3, 8))
        numbers = head[-1](hidden)
    assert hidden.dtype == torch.bfloat16
    assert numbers.dtype == torch.float32
    assert not torch.equal(numbers, numbers.bfloat16().float())
