"""One run of `generate seqhand`: what it was asked for, and what its shards hold."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from handkit.hand.model import load_hand
from handkit.nets.pose_encoder import load_pose_encoder
from handkit.synth.digest import sequence_digest
from handkit.synth.nearest import PoseIndex
from handkit.synth.paint import Layer, paint_sequence
from handkit.synth.poses import load_pose_bank
from handkit.synth.preview import write_preview
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import HandSequence, SequenceMaker
from handkit.synth.shard_job import ShardJob, make_shard
from handkit.synth.shards import encode_image, encode_npz
from handkit.synth.statistics import Counts, count_sequence
from handkit.synth.validation import recorded_digest

__all__ = ["KIND", "SequenceJob", "ShardJob", "make_shard"]

KIND: Final = "seqhand"


@dataclass(frozen=True, kw_only=True)
class SequenceJob(ShardJob):
    """What all shards of a run share; `poses` is "builtin" or a file."""

    kind: ClassVar[str] = KIND
    unit: ClassVar[str] = "sequence"
    recipe: SequenceRecipe
    poses: str = "builtin"

    @property
    def frames(self) -> int:
        return self.recipe.frames

    def settings(self) -> dict[str, Any]:
        """What decides the files' bytes, as plain values; how many sequences there are is not of it."""
        return {**super().settings(), "poses": self.poses}

    def make(self, *, show_progress: bool = False) -> SequenceMaker:
        """Load what sequences are made of: hand, poses, encoder, backgrounds."""
        encoded = self.recipe.theta_source == "encoder"
        # Kernels are compiled, the first time on a machine, while the poses are sampled.
        compiling = threading.Thread(target=_compile_kernels, daemon=True)
        compiling.start()
        bank = load_pose_bank(self.poses, show_progress=show_progress)
        compiling.join()
        return SequenceMaker(
            self.recipe,
            seed=self.seed,
            split=self.split,
            hand=load_hand(self.hand_model),
            bank=bank,
            encoder=load_pose_encoder(self.recipe.theta, hand=self.hand_model) if encoded else None,
            backgrounds=self.backgrounds,
        )

    def encode(self, maker: SequenceMaker, item: HandSequence) -> Iterator[tuple[str, bytes]]:
        """The names and bytes of all parts of a sequence's samples, in the order of a shard."""
        return encode_sequence(maker, item)

    def digest(self, item: HandSequence) -> str:
        """Hash of a sequence's annotations."""
        return sequence_digest(item.annotations())

    def count(self, item: HandSequence) -> Counts:
        """What `dataset.json` counts of a sequence."""
        return count_sequence(item)

    def preview(self, maker: SequenceMaker) -> tuple[Path, ...]:
        """Write preview.mp4 and preview.png of the first sequences."""
        return write_preview(self.out, maker, self.sequences)

    def licences(self, maker: SequenceMaker) -> dict[str, str]:
        """Under which terms each part of the pictures comes."""
        own = super().licences(maker)
        return own if self.poses == "builtin" else {**own, "poses": f"as {self.poses} came"}

    def recorded_digest(self, maker: SequenceMaker) -> str | None:
        """The hash that is recorded, if this is the default validation set."""
        default = self.split == "val" and self.seed == 0 and self.poses == "builtin" and maker.hand.name == "open"
        return recorded_digest(self.recipe, self.sequences) if default else None


def _compile_kernels() -> None:
    """Use once, on next to nothing, what is compiled on its first use."""
    points = np.random.default_rng(0).random((64, 63), np.float32)
    PoseIndex(points).nearest(points[:2].astype(np.float64))
    corners = 4 * np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], np.float64)
    layer = Layer(corners, corners, np.array([[0, 1, 2]]), np.ones((3, 3), np.float32), 1)
    paint_sequence(np.zeros((1, 4, 4, 3), np.uint8), [layer], light=None)


def encode_sequence(maker: SequenceMaker, sequence: HandSequence) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of all parts of a sequence's samples."""
    recipe, arrays = maker.recipe, sequence.annotations()
    images, masks = maker.render(sequence)
    for frame, (image, mask) in enumerate(zip(images, masks, strict=True)):
        key = sequence.key(frame)
        picture = encode_image(image, recipe.image_format, jpeg_quality=recipe.jpeg_quality)
        yield f"{key}.image.{recipe.image_format}", picture
        yield f"{key}.mask.png", encode_image(mask, "png")
        yield f"{key}.hand.npz", encode_npz({name: values[frame] for name, values in arrays.items()})
