"""The benchmarks of masks, on pictures that are made here and on the outlined ones with a random network."""

from pathlib import Path

import numpy as np
import pytest

from handkit.data.shards import Source
from handkit.images import read_image
from handkit.inference.masks import MaskPredictor
from tests.data.making import write_sequences
from tests.inference.making import write_handnet
from tests.refine.conftest import clip  # noqa: F401 - a fixture


def test_iterations_bring_a_hand_nearer_to_its_mask(
    clip: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The true masks stand 9 px beside the hands that are found, and are what the network says."""
    from refine_iterations import Known, measure

    masks = {name: np.roll(read_image(clip / "masks" / name)[..., 0] > 0, 9, axis=1) for name in ("p0.png", "p1.png")}
    waiting = iter(sorted(masks) * 2)
    monkeypatch.setattr(MaskPredictor, "masks", lambda *_: masks[next(waiting)][None])
    checkpoint = write_handnet(tmp_path / "own.safetensors")
    known = Known(clip / "in/stills", masks, dict.fromkeys(masks, True))
    found = measure(known, tmp_path, "fit", checkpoint, "handnet", iterations=(3, 10))
    assert list(found) == [0, 3, 10]
    assert all(set(values) == set(masks) for values in found.values())
    first, second, third = (np.mean(list(values.values())) for values in found.values())
    assert 0.5 < first < second < third
    assert third > first + 0.05


def test_samples_with_masks_are_written_as_pictures(tmp_path: Path) -> None:
    from refine_iterations import annotated

    data: Source = write_sequences(tmp_path / "data", shards=1, each=1, frames=3)
    known = annotated("seqhand", Path(str(data)), 2, tmp_path / "pictures")
    assert sorted(path.name for path in known.pictures.iterdir()) == sorted(known.masks) == ["000000.png", "000001.png"]
    assert [int(mask.sum()) for mask in known.masks.values()] == [100, 101]
    assert known.cameras is None


def test_outlined_hands_are_measured(realdata: Path, tmp_path: Path) -> None:
    from segmentation import by_grabcut, by_handnet, by_skin, measure

    predictor = MaskPredictor(write_handnet(tmp_path / "own.safetensors"), device="cpu")
    said: list[str] = []
    methods = {"hsv": by_skin, "grabcut": by_grabcut, "handnet": by_handnet(predictor)}
    figures, sheet = measure(realdata, methods, predictor.box_scale, said.append)
    assert {name: values.shape for name, values in figures.items()} == dict.fromkeys(methods, (10, 2))
    assert sheet.shape == (10 * 256, 4 * 256, 3)
    assert len(said) == 11
    means = {name: values.mean(0) for name, values in figures.items()}
    assert means["handnet"][0] < means["hsv"][0] < means["grabcut"][0]
    assert means["grabcut"][0] == pytest.approx(0.868, abs=0.03)
