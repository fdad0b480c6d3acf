"""Every sequence network: shapes, what its results rest on, what learns."""

import pytest
import torch

from handkit.nets import NETWORKS, SequenceNetwork, build_network

SMALLER = {name: {"latent": 48, "hidden": 16} for name in ("seqhand", "seqhand-small", "seqhand-small-frame")}
REMEMBERING = ["seqhand", "seqhand-lstm", "seqhand-small"]
CLIP = ["seqhand-i3d", "seqhand-mfnet"]
FORGETTING = [name for name in NETWORKS if name not in REMEMBERING]
FRAME = [name for name in FORGETTING if name not in CLIP]


def network_of(name: str) -> SequenceNetwork:
    """With statistics of some images, without which an untrained ResNet's maps grow from block to block."""
    torch.manual_seed(0)
    network = build_network(name, **SMALLER.get(name, {}))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(2, 2, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_at_one_and_ten_frames(name: str) -> None:
    network = network_of(name)
    with torch.no_grad():
        for frames, height, width in ((1, 50, 70), (10, 64, 64)):
            found = network(torch.rand(2, frames, 3, height, width))
            assert found.parameters.shape == (2, frames, 26)
            assert found.parameters.isfinite().all()
            assert (found.state is None) == (name in FORGETTING)
            assert all(part.shape[0] == 2 for part in found.state or ())


@pytest.mark.parametrize("name", REMEMBERING)
def test_memory_is_carried_over_calls(name: str) -> None:
    network = network_of(name)
    images = torch.rand(2, 5, 3, 64, 64)
    with torch.no_grad():
        whole = network(images)
        first = network(images[:, :2])
        parts = [first.parameters]
        state = first.state
        for frame in images[:, 2:].split(1, 1):
            found = network(frame, state)
            parts.append(found.parameters)
            state = found.state
    torch.testing.assert_close(torch.cat(parts, 1), whole.parameters, atol=1e-5, rtol=0)
    for part, expected in zip(state or (), whole.state or (), strict=True):
        torch.testing.assert_close(part, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", REMEMBERING)
def test_numbers_and_memory_stay_in_full_precision_under_autocast(name: str) -> None:
    network = network_of(name)
    images = torch.rand(1, 2, 3, 64, 64)
    state = None
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for frame in images.split(1, 1):
            parameters, state = network(frame, state)
            assert {parameters.dtype, *(part.dtype for part in state or ())} == {torch.float32}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_frame_rests_on(name: str) -> None:
    """Changing the first or the last of three frames tells which results see the past and which the future."""
    network = network_of(name)
    images = torch.rand(1, 3, 3, 64, 64)
    sees_past, sees_future = {"frame": (False, False), "past": (True, False), "clip": (True, True)}[network.sees]
    with torch.no_grad():
        results = []
        for changed in (None, 0, 2):
            clip = images.clone()
            if changed is not None:
                clip[:, changed] = 1 - clip[:, changed]
            results.append(network(clip).parameters[0])
    before, first_changed, last_changed = results
    if name == "seqhand-mfnet":
        sees_past = False  # its differences look ahead only
    past, future = (first_changed[2] - before[2]).abs().max(), (last_changed[0] - before[0]).abs().max()
    assert (past > 1e-4) == sees_past
    assert (future > 1e-4) == sees_future
    assert (first_changed[0] - before[0]).abs().max() > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_training_starts_near_the_mean_hand_and_reaches_everything(name: str) -> None:
    network = network_of(name).train()
    found = network(torch.rand(2, 2, 3, 64, 64))
    assert found.parameters.abs().max() < 1
    (found.parameters * torch.randn_like(found.parameters)).sum().backward()
    for part, parameter in network.named_parameters():
        assert parameter.grad is not None, part
        assert parameter.grad.isfinite().all(), part
        assert (parameter.grad != 0).any(), part


@pytest.mark.parametrize("name", FRAME)
def test_frames_are_a_batch_where_nothing_is_remembered(name: str) -> None:
    network = network_of(name)
    images = torch.rand(1, 3, 3, 64, 64)
    with torch.no_grad():
        together = network(images).parameters[0]
        alone = network(images.transpose(0, 1)).parameters[:, 0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_recurrent_layer_is_named() -> None:
    recurrent = [name for name in NETWORKS if build_network(name, **SMALLER.get(name, {})).memory is not None]
    assert recurrent == ["seqhand", "seqhand-lstm", "seqhand-small", "seqhand-small-frame"]


def test_wrong_input_is_said() -> None:
    network = build_network("seqhand-small", latent=8, hidden=4).eval()
    with pytest.raises(ValueError, match=r"not torch.uint8 \[1, 1, 3, 64, 64\]"):
        network(torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\[1, 3, 64, 64\]"):
        network(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"\[1, 0, 3, 64, 64\]"):
        network(torch.zeros(1, 0, 3, 64, 64))
    state = network(torch.zeros(2, 1, 3, 64, 64)).state
    with pytest.raises(ValueError, match="state is of other frames"):
        network(torch.zeros(1, 1, 3, 64, 64), state)
    frame = build_network("seqhand-small-frame", latent=8, hidden=4)
    with pytest.raises(ValueError, match="remembers nothing"):
        frame(torch.zeros(1, 1, 3, 64, 64), state)
