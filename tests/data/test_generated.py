"""What `generate seqhand` writes reads back as it was drawn."""

from pathlib import Path

import numpy as np
import pytest

from handkit.data.registry import build_dataset
from handkit.data.sample import check_sample
from handkit.data.seqhand import FrameDecoder, SeqHandDataset
from handkit.errors import HandkitError
from handkit.hand import load_hand
from handkit.labels import HAND
from handkit.recipe import load_recipe
from handkit.synth.job import encode_sequence
from handkit.synth.poses import load_pose_bank
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import SequenceMaker
from handkit.synth.shards import write_shard
from tests.data.making import write_sequences

NAMES = {"theta": "pca", "beta": "betas", "r": "global_orient", "s": "weak_scale", "t": "weak_transl"}


def test_the_same_parameters_as_drawn_for_seed_and_index(tmp_path: Path) -> None:
    changes = ["frames=3", "size=96", "theta_source=bank", "image_format=png"]
    recipe = load_recipe(SequenceRecipe, "seqhand", changes)
    bank = load_pose_bank("builtin", size=2000)
    maker = SequenceMaker(recipe, seed=4, split="val", bank=bank, hand=load_hand("open"))
    drawn = [maker.annotate(index) for index in range(3)]
    write_shard(tmp_path / "a.tar", (part for sequence in drawn for part in encode_sequence(maker, sequence)))
    decoder = FrameDecoder({"hand_model": "open"})
    for sequence, read in zip(drawn, SeqHandDataset(tmp_path), strict=True):
        images, labels = maker.render(sequence)
        arrays = sequence.annotations()
        for name, values in arrays.items():
            np.testing.assert_array_equal(read[NAMES.get(name, name)], values, err_msg=name)
        np.testing.assert_array_equal(read["image"], images.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(read["mask"], labels == HAND)
        for frame in range(3):
            row = {name: values[frame] for name, values in arrays.items()}
            made = decoder.build(
                np.ascontiguousarray(images[frame].transpose(2, 0, 1)),
                labels[frame],
                row,
                sequence=f"{sequence.index:06d}",
                frame=frame,
            )
            check_sample(made)
            for key, value in made.items():
                np.testing.assert_array_equal(value, read[key][frame], err_msg=key)


def test_frames_as_a_data_set_and_their_truth(tmp_path: Path) -> None:
    folder = write_sequences(tmp_path / "val", shards=2, each=2, frames=3)
    frames = build_dataset("seqhand", folder)
    truth = frames.truth()
    assert len(frames) == len(truth) == 12
    assert truth.ids[4] == "000001_001"
    assert truth.sequences is not None
    assert truth.frames is not None
    assert (truth.sequences[4], truth.frames[4]) == ("000001", 1)
    assert truth.K is None
    for row in (0, 5, 11):
        sample = frames[row]
        check_sample(sample)
        assert sample["name"] == truth.ids[row]
        for name in ("joints_3d", "vertices", "joints_2d"):
            found = getattr(truth, "joints" if name == "joints_3d" else name)
            np.testing.assert_allclose(found[row], sample[name], atol=1e-6)
    with pytest.raises(IndexError):
        frames[12]
    with pytest.raises(HandkitError, match="holds the split val, not train"):
        build_dataset("seqhand", folder, "train")
