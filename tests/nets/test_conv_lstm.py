"""The convolutional LSTM against a slow twin, and how it starts."""

import torch
from torch import Tensor, nn

from handkit.nets.conv_lstm import ConvLSTM


def twin(layer: ConvLSTM, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Shi et al. 2015 read off the page, without peepholes: one convolution of [x, h] at every frame."""
    hidden = cell = maps.new_zeros(maps.shape[0], layer.hidden, *maps.shape[-2:])
    states = []
    for frame in range(maps.shape[1]):
        enter, keep, leave, candidate = layer.gates(torch.cat([maps[:, frame], hidden], 1)).chunk(4, 1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states, 1), cell


def test_equals_the_twin_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(5, 3).double()
    maps = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 4, 3, 6, 7, dtype=torch.float64)
    gradients = []
    for run in (layer, lambda x: twin(layer, x)):
        layer.zero_grad()
        states, last = run(maps)
        (states * weights).sum().backward()
        gradients.append([maps.grad, layer.gates.weight.grad.clone(), layer.gates.bias.grad.clone(), states])
        maps.grad = None
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(layer(maps)[1], (states[:, -1], last))


def test_forget_gate_starts_open() -> None:
    layer = ConvLSTM(2, 3)
    assert layer.gates.bias.tolist() == [0] * 3 + [1] * 3 + [0] * 6
    nn.init.zeros_(layer.gates.weight)
    kept = torch.ones(1, 3, 2, 2)
    _, (_, cell) = layer(torch.zeros(1, 1, 2, 2, 2), (torch.zeros(1, 3, 2, 2), kept))
    torch.testing.assert_close(cell, torch.full_like(kept, 0.7310586))


def test_memory_stays_in_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    layer, maps = ConvLSTM(4, 3), torch.randn(1, 3, 4, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states, (_, cell) = layer(maps)
    assert cell.dtype == states.dtype == torch.float32
    torch.testing.assert_close(states, layer(maps)[0], atol=0.02, rtol=0)
