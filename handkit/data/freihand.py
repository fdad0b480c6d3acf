"""FreiHAND_pub_v2 (Zimmermann et al. 2019): 32,560 training poses in four backgrounds, 3,960 for evaluation.

Convention: right hands, 224 x 224, metres, OpenCV axes, joints in our order. The published joints are regressed from
the posed mesh (the tips are its vertices 744, 320, 443, 555, 672), not the skinned ones of `ManoLayer`.
"""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    pixels,
    read_chw,
    read_grey,
    read_numbers,
)
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError
from handkit.hand.layer import ManoLayer
from handkit.hand.model import find_hand_file, load_hand

logger = logging.getLogger(__name__)

# The last two share the training poses as RealisticHands did: 70 of 100 to learn from, the others to measure on.
SPLITS: Final = ("training", "evaluation", "handnet-training", "handnet-validation")
_HELD_OUT: Final = 0.3
# Backgrounds: green screen, then three recolourings; each continues the numbering of the images.
VARIANTS: Final = ("gs", "hom", "sample", "auto")
LAYOUT: Final = (
    "FreiHAND_pub_v2: training/rgb/00000000.jpg, training/mask/, training_{K,mano,xyz,verts}.json, evaluation/rgb/, "
    "evaluation_K.json and, for scores, evaluation_{xyz,verts}.json"
)
_MIDDLE_MCP: Final = 4  # in MANO's order; keypoint 9 of ours, which the 61-vector places


class FreiHand(AnnotatedDataset):
    """FreiHAND's training split, every pose once for each of `variants`, a share of it, or its evaluation split.

    RealisticHands drew its shares at random; which poses they hold is not known, ours are drawn by a fixed seed.
    Without `vertices` the meshes are not read (300 MB for training). `hand` is what the MANO parameters belong to;
    "mano" leaves pose and translation out where no MANO file is found, as its mean pose is a part of them.
    The evaluation split has no variants, masks or parameters.
    Raises HandkitError for files that are missing, cut off or of different lengths.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "evaluation",
        *,
        variants: Sequence[str] = VARIANTS,
        vertices: bool = True,
        hand: str | Path = "mano",
    ) -> None:
        self.root = check_root(root, LAYOUT)
        self.split = check_choice("split of FreiHAND", split, SPLITS)
        chosen = [check_choice("variant of FreiHAND", variant, VARIANTS) for variant in variants]
        self._part = "evaluation" if split == "evaluation" else "training"
        is_scored = self._part == "evaluation"
        self._variants = [0] if is_scored else [VARIANTS.index(variant) for variant in chosen]
        kept = np.float64 if is_scored else np.float32
        self._K = self._numbers("K", (3, 3))
        self._xyz = self._numbers("xyz", (21, 3), optional=is_scored)
        self._verts = self._numbers("verts", (778, 3), dtype=kept, optional=is_scored) if vertices else None
        mano = self._numbers("mano", (1, 61), optional=True)
        self._mano = None if mano is None else mano[:, 0]
        self._hand = hand
        lengths = {len(held) for held in (self._K, self._xyz, self._verts, self._mano) if held is not None}
        if len(lengths) > 1:
            what = (
                f"the {self._part}_*.json of {self.root} have different lengths: {', '.join(map(str, sorted(lengths)))}"
            )
            raise HandkitError(what, "copy or download them again")
        self._rows = _share(split, len(self._K))
        if not len(self._rows):
            what = f"{self.root} has {len(self._K)} training poses, none of them of the split {split}"
            raise HandkitError(what, "give the whole data set")

    def __len__(self) -> int:
        return len(self._rows) * len(self._variants)

    def scene(self, index: int) -> int:
        return self._place(index)[0]

    def read(self, index: int) -> HandSample:
        row, number = self._place(index)
        known: dict[str, Any] = {"K": self._K[row], **self._parameters(row)}
        if self._xyz is not None:
            outline = known["joints_2d"] = pixels(self._xyz[row], self._K[row])
            known |= {"joints_3d": self._xyz[row]}
            if self._verts is not None:
                outline = pixels(self._verts[row], self._K[row])
                known |= {"vertices": self._verts[row], "vertices_2d": outline}
            known |= box_around(outline)
        if self._part == "training":
            known["mask"] = read_grey(self.root / "training" / "mask" / f"{row:08d}.jpg", LAYOUT) > 127
        image = read_chw(self._image(number), LAYOUT)
        return build_sample(image, is_right=True, dataset="freihand", name=f"{number:08d}", **known)

    def truth(self) -> HandSet:
        """All joints and meshes; HandkitError where the evaluation split has no published truth beside it."""
        if self._xyz is None:
            raise HandkitError(
                f"{self.root / 'evaluation_xyz.json'} does not exist: nothing to score with",
                "get evaluation_xyz.json and evaluation_verts.json from FreiHAND's page",
            )
        numbers = [self._place(index)[1] for index in range(len(self))]
        joints = self._of_all(self._xyz)
        K = self._of_all(self._K)
        return HandSet(
            ids=tuple(f"{number:08d}" for number in numbers),
            joints=joints,
            vertices=None if self._verts is None else self._of_all(self._verts),
            joints_2d=pixels(joints, K),
            joints_valid=np.ones(joints.shape[:2], bool),
            images=tuple(self._image(number) for number in numbers),
            K=K,
            source=f"freihand {self.split}",
        )

    def _numbers(
        self, kind: str, shape: tuple[int, ...], *, dtype: type[np.floating[Any]] = np.float64, optional: bool = False
    ) -> Any:
        path = self.root / f"{self._part}_{kind}.json"
        return None if optional and not path.exists() else read_numbers(path, shape, LAYOUT, dtype=dtype)

    def _place(self, index: int) -> tuple[int, int]:
        """Row of the annotations and number of the image."""
        order, place = divmod(index, len(self._rows))
        row = int(self._rows[place])
        return row, row + len(self._K) * self._variants[order]

    def _image(self, number: int) -> Path:
        return self.root / self._part / "rgb" / f"{number:08d}.jpg"

    def _of_all(self, held: NDArray[Any]) -> NDArray[Any]:
        own = held if len(self._rows) == len(held) else held[self._rows]
        return own if len(self._variants) == 1 else np.concatenate([own] * len(self._variants))

    @cached_property
    def _layer(self) -> ManoLayer | None:
        if self._hand == "mano" and find_hand_file("right") is None:
            logger.info("FreiHAND: no MANO file is found, so samples come without pose and translation")
            return None
        return ManoLayer(load_hand(self._hand, side="right"))

    def _parameters(self, row: int) -> dict[str, Any]:
        """The 61-vector as the schema's keys: pose 48 (mean not added), betas 10, root's pixel 2, scale 1 (px / m)."""
        if self._mano is None:
            return {}
        pose, betas, root_uv, scale = np.split(self._mano[row], (48, 58, 60))
        known: dict[str, Any] = {"betas": betas, "hand_model": str(self._hand)}
        if self._layer is None:
            return known
        hand_pose = pose[3:] + self._layer.hand.hands_mean
        known |= {"global_orient": pose[:3], "hand_pose": hand_pose}
        with torch.no_grad():
            posed = self._layer(
                global_orient=torch.from_numpy(pose[:3]),
                hand_pose=torch.from_numpy(hand_pose),
                betas=torch.from_numpy(betas),
            )
        K = self._K[row]
        focal = (K[0, 0] + K[1, 1]) / 2
        root = np.append(root_uv - K[:2, 2], focal) / scale
        known["transl"] = root - self._layer.hand.J_regressor[_MIDDLE_MCP] @ posed.vertices.numpy()
        return known


def _share(split: str, poses: int) -> NDArray[np.int64]:
    """The rows of the annotations that a split has."""
    if not split.startswith("handnet"):
        return np.arange(poses)
    drawn = np.random.default_rng(0).permutation(poses)
    held_out = round(_HELD_OUT * poses)
    return np.sort(drawn[:held_out] if split == "handnet-validation" else drawn[held_out:])
