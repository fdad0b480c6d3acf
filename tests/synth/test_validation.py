"""The default validation set is known by its hash."""

from pathlib import Path

import numpy as np
import pytest

from handkit.recipe import load_recipe
from handkit.synth.digest import STEPS, combined_digest, sequence_digest
from handkit.synth.job import SequenceJob
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.validation import SEQUENCES, recorded_digest, validation_record
from tests.synth.seqhand import small_maker

RECIPE = load_recipe(SequenceRecipe, "seqhand")


def test_first_sequences_are_those_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDKIT_CACHE", str(tmp_path))  # poses sampled anew: those kept may be of an older sampler
    job = SequenceJob(out=Path("unused"), recipe=RECIPE, split="val", sequences=SEQUENCES)
    first = validation_record()["first"]
    assert len(first) >= 4
    assert [job.digest(sequence) for sequence in job.make().annotate_many(range(len(first)))] == first


def test_only_the_default_set_has_a_recorded_hash() -> None:
    assert recorded_digest(RECIPE, SEQUENCES) == validation_record()["annotations"]
    assert recorded_digest(load_recipe(SequenceRecipe, "seqhand", ["shading=false"]), SEQUENCES)
    assert recorded_digest(RECIPE, 999) is None
    assert recorded_digest(load_recipe(SequenceRecipe, "seqhand", ["flow.alpha=1"]), SEQUENCES) is None


@pytest.mark.parametrize("name", sorted(STEPS))
def test_digest_sees_changes_and_not_rounding(name: str) -> None:
    known = small_maker().annotate(0).annotations()
    digest = sequence_digest(known)
    at = tuple(0 for _ in known[name].shape)
    value = np.rint(known[name][at] / STEPS[name]) * STEPS[name]
    middle, near, far = ({**known, name: known[name].copy()} for _ in range(3))
    middle[name][at], near[name][at], far[name][at] = value, value * (1 + 1e-6), value + 2 * STEPS[name]
    assert sequence_digest(middle) == digest
    assert sequence_digest(near) == digest
    assert sequence_digest(far) != digest


def test_combined_digest_depends_on_the_order() -> None:
    assert combined_digest(["a", "b"]) != combined_digest(["b", "a"])
