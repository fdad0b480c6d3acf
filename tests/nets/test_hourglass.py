"""The 2D keypoint estimator: where its points are, what its scores say, and that it learns."""

import pytest
import torch
from torch import Tensor

from handkit.errors import HandkitError
from handkit.nets.hourglass import HourglassNetwork, expected_cell, mass_near

COMPACT = {"stacks": 2, "features": 32, "modules": 1}


def compact() -> HourglassNetwork:
    torch.manual_seed(0)
    return HourglassNetwork(**COMPACT)


def peak(row: int, column: int, height: int, width: int) -> Tensor:
    heatmap = torch.zeros(1, 21, height, width)
    heatmap[..., row, column] = 60
    return heatmap


@pytest.mark.parametrize("size", [224, 128, 96])
def test_convention_a_peak_is_the_centre_of_its_cell(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell (i, j) covers four pixels: its centre is at ((j + 0.5) * 4, (i + 0.5) * 4) px of the unpadded image."""
    network = compact().eval()
    with torch.no_grad():
        cells = network.heatmaps(torch.rand(1, 3, size, size))[0].shape[-1]
    assert cells == {224: 64, 128: 32, 96: 32}[size]
    heatmaps = [peak(0, 0, cells, cells), peak(5, 11, cells, cells)]
    monkeypatch.setattr(network, "heatmaps", lambda images: heatmaps)
    points, scores = network(torch.rand(1, 3, size, size))
    assert points.shape == (1, 2, 21, 2)
    torch.testing.assert_close(points[:, 0], torch.full((1, 21, 2), 2 / size))
    torch.testing.assert_close(points[:, 1], torch.tensor([46 / size, 22 / size]).expand(1, 21, 2))
    torch.testing.assert_close(scores, torch.ones(1, 21))


def test_soft_argmax_is_the_mean_place() -> None:
    torch.manual_seed(0)
    heatmap = 3 * torch.randn(2, 21, 5, 7, dtype=torch.float64)
    found = expected_cell(heatmap)
    for image in range(2):
        for joint in range(21):
            share = heatmap[image, joint].exp() / heatmap[image, joint].exp().sum()
            x = sum(float(share[i, j]) * (j + 0.5) for i in range(5) for j in range(7))
            y = sum(float(share[i, j]) * (i + 0.5) for i in range(5) for j in range(7))
            assert found[image, joint].tolist() == pytest.approx([x, y], abs=1e-12)
    torch.testing.assert_close(expected_cell(heatmap.float()), found.float(), rtol=0, atol=1e-5)


def test_soft_argmax_is_exact_under_autocast() -> None:
    torch.manual_seed(0)
    heatmap = 3 * torch.randn(2, 21, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = expected_cell(heatmap)
        scores = mass_near(heatmap, found)
        points = compact().eval()(torch.rand(1, 3, 64, 64)).points
    assert points.dtype == found.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected_cell(heatmap.double()), rtol=0, atol=1e-4)


def test_scores_are_the_share_within_two_cells() -> None:
    one, flat = peak(9, 4, 16, 16), torch.zeros(1, 21, 16, 16)
    two = torch.maximum(peak(2, 2, 16, 16), peak(12, 12, 16, 16))
    assert mass_near(one, expected_cell(one)).tolist() == [[pytest.approx(1)] * 21]
    # Of an even map's cells the twelve whose centres are within two of its middle.
    assert mass_near(flat, expected_cell(flat)).tolist() == [[pytest.approx(12 / 256)] * 21]
    assert mass_near(two, expected_cell(two)).max() < 1e-6
    beside = torch.maximum(peak(5, 5, 16, 16), peak(5, 7, 16, 16))
    assert mass_near(beside, expected_cell(beside)).tolist() == [[pytest.approx(1)] * 21]


def test_padding_is_right_and_below_with_grey() -> None:
    network, image = compact().eval(), torch.rand(1, 3, 96, 96)
    padded = torch.full((1, 3, 128, 128), 0.5)
    padded[..., :96, :96] = image
    with torch.no_grad():
        assert torch.equal(network.heatmaps(image)[1], network.heatmaps(padded)[1])
        torch.testing.assert_close(network(image).points * 96, network(padded).points * 128)


@pytest.mark.parametrize("stacks", [1, 3])
def test_every_stack_answers(stacks: int) -> None:
    torch.manual_seed(0)
    network = HourglassNetwork(stacks=stacks, features=16, modules=2).eval()
    with torch.no_grad():
        points, scores = network(torch.rand(2, 3, 64, 100))
    assert points.shape == (2, stacks, 21, 2)
    assert scores.shape == (2, 21)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_parameter_count_as_released_and_compact() -> None:
    with torch.device("meta"):
        released, small = HourglassNetwork(), HourglassNetwork(features=64, modules=1)
    assert sum(part.numel() for part in released.parameters()) == 12_549_824
    assert sum(part.numel() for part in small.parameters()) == 420_528


def test_batch_is_a_loop() -> None:
    network = compact()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        network.train()(images)
        together = network.eval()(images)
        alone = [network(image[None]) for image in images]
    for number, part in enumerate(together):
        assert part.std(0).max() > 1e-4
        torch.testing.assert_close(part, torch.cat([one[number] for one in alone]), rtol=0, atol=1e-5)


def test_everything_learns_from_all_points() -> None:
    network = compact().train()
    found = network(torch.rand(4, 3, 64, 64))
    assert not found.scores.requires_grad
    (found.points * torch.randn_like(found.points)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_learns_where_a_dot_is() -> None:
    """40 steps: from a quarter of the image to a hundredth of it, in both stacks, and sure of it."""
    network = compact().train()
    centre, pixels = 8 + 48 * torch.rand(16, 2), torch.arange(64) + 0.5
    across, down = (-(pixels - centre[:, axis, None]).square() / 8 for axis in (0, 1))
    images = (across[:, None] + down[..., None]).exp()[:, None].expand(-1, 3, -1, -1)
    target = centre[:, None, None] / 64
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    errors, scores = [], []
    for _ in range(41):
        found = network(images)
        distance = (found.points - target).norm(dim=-1)
        errors.append(distance.detach().mean((0, 2)).max().item())
        scores.append(found.scores.mean().item())
        optimizer.zero_grad()
        distance.mean().backward()
        optimizer.step()
    assert errors[0] > 0.15
    assert errors[-1] < 0.015
    assert scores[0] < 0.2
    assert scores[-1] > 0.8


def test_wrong_arguments_and_images_are_said() -> None:
    with pytest.raises(HandkitError, match="0 stacks"):
        HourglassNetwork(stacks=0)
    with pytest.raises(HandkitError, match="30 features"):
        HourglassNetwork(features=30)
    with pytest.raises(ValueError, match=r"not torch.uint8 \[1, 3, 64, 64\]"):
        compact()(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
