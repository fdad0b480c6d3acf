import numpy as np
import torch

from handkit.data.color_jitter import ColorJitter

RAMP = torch.arange(0, 256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(4, 3, 1, 1)


def test_the_same_for_all_frames_and_by_seed_and_place() -> None:
    jitter = ColorJitter()
    changed = jitter(RAMP, 1, 5)
    assert changed.dtype == torch.uint8
    assert torch.equal(changed, jitter(RAMP, 1, 5))
    assert torch.equal(changed[0], changed[3])
    others = [jitter(RAMP, seed, place) for seed, place in ((1, 6), (2, 5))]
    assert not any(torch.equal(changed, other) for other in others)


def test_colours_stay_within_what_is_asked() -> None:
    means = []
    for place in range(60):
        changed = ColorJitter(gain=0.2, gamma=0, blur=0)(RAMP, 0, place).double()
        bright = (RAMP > 30) & (RAMP < 200)
        ratio = (changed / RAMP)[bright]
        assert ratio.min() > 1 / 1.2 - 0.02
        assert ratio.max() < 1.2 + 0.02
        means.append(float(ratio.mean()))
    assert np.ptp(means) > 0.15
    assert torch.equal(ColorJitter(gain=0, gamma=0, blur=0)(RAMP, 0, 0), RAMP)


def test_blur_keeps_place_and_brightness() -> None:
    spot = torch.zeros(1, 3, 65, 65, dtype=torch.uint8)
    spot[:, :, 30:33, 40:43] = 240
    spread = set()
    for place in range(12):
        changed = ColorJitter(gain=0, gamma=0, blur=0.03)(spot, 0, place).double()[0, 0]
        assert abs(changed.sum() / spot[0, 0].sum() - 1) < 0.05
        at = torch.arange(65).double()
        assert abs((changed.sum(1) * at).sum() / changed.sum() - 31) < 0.02
        assert abs((changed.sum(0) * at).sum() / changed.sum() - 41) < 0.02
        spread.add(float(changed.max()))
    assert 240.0 in spread
    assert min(spread) < 150
