"""The hidden state: carried along a track, of no other track, and new where the track is broken."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.inference.looks import Look
from handkit.inference.placing import HandsInImage
from handkit.inference.predictor import SequencePredictor
from handkit.inference.trained import crop_size
from handkit.nets import SequenceNetwork

from .making import info_of, looks_of, small_network


@pytest.fixture(scope="module")
def network() -> SequenceNetwork:
    return small_network(hidden=16, latent=16)


def predictor(network: SequenceNetwork, **options: Any) -> SequencePredictor:
    return SequencePredictor(network, info_of(network), **options)


def one_by_one(network: SequenceNetwork, looks: list[Look], **options: Any) -> torch.Tensor:
    runner = predictor(network, **options)
    return torch.cat([runner.step([look]).orient for look in looks])


def alone(network: SequenceNetwork, looks: list[Look]) -> torch.Tensor:
    return torch.cat([predictor(network).step([look]).orient for look in looks])


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-5)


def test_many_frames_in_a_call_are_one_by_one(network: SequenceNetwork) -> None:
    looks = looks_of(7)
    stepped = one_by_one(network, looks)
    assert same(predictor(network).step(looks).orient, stepped)
    halves = predictor(network)
    assert same(torch.cat([halves.step(looks[:3]).orient, halves.step(looks[3:]).orient]), stepped)
    assert same(stepped[:1], alone(network, looks[:1]))
    assert not same(stepped[1:], alone(network, looks[1:])), "no state is carried"


def test_tracks_are_independent(network: SequenceNetwork) -> None:
    a, b = looks_of(5, track="a"), looks_of(3, track="b", seed=1)
    runner = predictor(network)
    mixed = [
        runner.step([a[0]]),
        runner.step([b[0], a[1]]),
        runner.step([a[2], b[1]]),
        runner.step([a[3], a[4], b[2]]),
    ]
    orient = torch.cat([found.orient for found in mixed])
    assert same(orient[[0, 2, 3, 5, 6]], one_by_one(network, a))
    assert same(orient[[1, 4, 7]], one_by_one(network, b))


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("broken", ["gap", "jump", "growth", "side", "backwards"])
def test_a_broken_track_starts_anew(network: SequenceNetwork, broken: str, at_once: bool) -> None:
    looks = looks_of(6)
    square = looks[3].square
    changes = {
        "gap": lambda look: {"time_s": look.time_s + 0.6},
        "jump": lambda look: {"square": look.square + 31},
        "growth": lambda look: {"square": look.square + 40 * np.array([-1, -1, 1, 1])},
        "side": lambda look: {"is_right": False},
        "backwards": lambda look: {"time_s": look.time_s - 0.2},
    }
    after = [replace(look, **changes[broken](look)) for look in looks[3:]]
    series = looks[:3] + after
    runner = predictor(network)
    steps = [series] if at_once else [[look] for look in series]
    found = torch.cat([runner.step(step).orient for step in steps])
    assert same(found[:3], one_by_one(network, looks[:3]))
    assert same(found[3:], one_by_one(network, after)), "the state outlived the break"
    assert not same(found[4:], alone(network, after[1:])), "and is not carried on after it"
    near = [replace(look, square=square + 29, time_s=look.time_s + 0.4) for look in looks[3:4]]
    runner = predictor(network)
    runner.step(looks[:3])
    assert not same(runner.step(near).orient, alone(network, near)), "half a second and half a side are no break"


def test_the_longest_gap_is_the_callers(network: SequenceNetwork) -> None:
    looks = looks_of(4, fps=1.0)
    assert same(one_by_one(network, looks), alone(network, looks))
    assert not same(one_by_one(network, looks, max_gap_s=1.0)[1:], alone(network, looks)[1:])


def test_forgetting_starts_anew(network: SequenceNetwork) -> None:
    looks = looks_of(3)
    runner = predictor(network)
    runner.step(looks[:2])
    runner.forget()
    assert same(runner.step(looks[2:]).orient, alone(network, looks[2:]))


def test_long_tracks_and_many_are_cut_to_calls(network: SequenceNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = [looks_of(length, track=name, seed=i) for i, (name, length) in enumerate((("a", 9), ("b", 5), ("c", 9)))]
    looks = [look for track in tracks for look in track]
    whole = predictor(network).step(looks).orient
    monkeypatch.setattr("handkit.inference.predictor._CALL_FRAMES", 4)
    monkeypatch.setattr("handkit.inference.predictor._CALL_PICTURES", 6)
    assert same(predictor(network).step(looks).orient, whole)
    assert same(torch.cat([one_by_one(network, track) for track in tracks]), whole)


def test_no_looks_are_no_hands(network: SequenceNetwork) -> None:
    assert len(predictor(network).step([])) == 0


def test_frame_networks_know_no_past() -> None:
    network = small_network("seqhand-small-frame", hidden=16, latent=16)
    looks = looks_of(4)
    assert same(predictor(network).step(looks).orient, alone(network, looks))


class ClipNetwork(SequenceNetwork):
    """Sees the clip: says each frame's brightness, and the whole clip's."""

    sees = "clip"

    def __init__(self) -> None:
        super().__init__("clip")
        self.clips: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor, state: Any = None) -> Any:
        from handkit.nets import SequenceOutput

        assert state is None
        self.clips.append(images)
        bright = images.mean((2, 3, 4))
        parameters = torch.zeros(*bright.shape, 26)
        parameters[..., 23], parameters[..., 24] = bright, bright.mean(1, keepdim=True)
        return SequenceOutput(parameters, None)


def brightness(looks: list[Look]) -> torch.Tensor:
    return torch.tensor([look.crop.mean() / 255 for look in looks], dtype=torch.float64)


@pytest.mark.parametrize("steps", [(23,), (10, 10, 3), (4, 12, 7), tuple([1] * 23)])
def test_clip_networks_see_ten_frames(steps: tuple[int, ...]) -> None:
    looks = looks_of(23)
    network = ClipNetwork()
    runner = SequencePredictor(network, info_of(network))
    found: list[HandsInImage] = []
    for count in steps:
        first = sum(len(part) for part in found)
        found.append(runner.step(looks[first : first + count]))
    orient = torch.cat([part.orient for part in found])
    torch.testing.assert_close(orient[:, 0], brightness(looks), atol=1e-6, rtol=0)
    assert all(clip.shape[1] == 10 for clip in network.clips)
    # whatever the steps, the last frame is seen with the nine before it
    torch.testing.assert_close(orient[-1, 1], brightness(looks[-10:]).mean(), atol=1e-6, rtol=0)
    if steps[0] >= 10:
        torch.testing.assert_close(orient[0, 1], brightness(looks[:10]).mean(), atol=1e-6, rtol=0)


def test_a_checkpoint_says_the_size_of_its_pictures(network: SequenceNetwork) -> None:
    info = info_of(network)
    assert crop_size(info) == 64
    assert crop_size(replace(info, recipe={}, data={"size": 96})) == 96
    with pytest.raises(HandkitError, match="does not say on which pictures"):
        crop_size(replace(info, recipe={"train": {}}))
