"""HO-3D v2 and v3 (Hampali et al. 2020): right hands holding an object, in sequences, 640 x 480.

Convention: the files have OpenGL axes (y up, the hand at z < 0) and joints in MANO's order with the tips last; both
are turned into ours at the door. Tips are vertices 744, 333, 444, 555, 672. Metres.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from handkit.conventions import reorder_joints
from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    find_file,
    numbers,
    pixels,
    read_chw,
    read_numbers,
    read_pickle,
    read_rgb,
    wide,
)
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

# Held out of the 55 training sequences of v2 by S2HAND(V), supplement 1.2; the other 45 are its training split.
S2HANDV_VALIDATION: Final = (
    *("GSF10", "GSF13", "SB10", "GPMF11", "SS1"),
    *("ABF14", "SiBF10", "SiBF13", "SiBF12", "MC5"),
)
SPLITS: Final = ("train", "evaluation", "s2handv-train", "s2handv-validation")
LAYOUT: Final = (
    "HO-3D: train.txt, evaluation.txt, {train,evaluation}/SEQUENCE/{rgb,depth,meta}/0000.* and, for scores on the "
    "evaluation split, evaluation_xyz.json and evaluation_verts.json (beside evaluation.txt, or in `truth`)"
)
DEPTH_M: Final = 0.00012498664727900177  # metres of one step
OPENCV_FROM_OPENGL: Final = np.array([1.0, -1.0, -1.0])
_HAND_CHANNEL: Final = 2  # segmentation is drawn in colours: the hand blue, the object green


class Ho3d(AnnotatedDataset):
    """HO-3D's frames in the order of train.txt or evaluation.txt; `split` also knows the 45/10 sequences of S2HAND(V).

    `truth` is the folder of evaluation_xyz.json and evaluation_verts.json where it is not `root`; without them samples
    of the evaluation split have only the wrist. Without `vertices` the meshes are not read. The version is seen by the
    images (v2 has PNG, v3 JPEG). Frames without annotation are kept, all their flags False.
    Raises HandkitError for files that are missing, cut off or of different lengths.
    """

    def __init__(
        self, root: str | Path, split: str = "evaluation", *, truth: str | Path | None = None, vertices: bool = True
    ) -> None:
        self.root = check_root(root, LAYOUT)
        self.split = check_choice("split of HO-3D", split, SPLITS)
        self._folder = "evaluation" if split == "evaluation" else "train"
        self.frames = self._frames()
        self._xyz = self._verts = None
        if split == "evaluation":
            self._xyz = self._official("evaluation_xyz.json", (21, 3), truth)
            self._verts = self._official("evaluation_verts.json", (778, 3), truth) if vertices else None

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> HandSample:
        sequence, number = self.frames[index]
        image = read_chw(self.image_path(index), LAYOUT)
        known = {**self._annotations(index), **self._mask(index, image.shape[1:])}
        name = f"{sequence}/{number}"
        return build_sample(
            image, is_right=True, dataset="ho3d", name=name, sequence=sequence, frame=_order(number), **known
        )

    def truth(self) -> HandSet:
        """Joints of all frames, on the evaluation split with meshes and K.

        There the camera of a sequence is taken from its first frame; the training splits' files are all read, 4,000
        frames a second. HandkitError where the evaluation split has no published truth beside it.
        """
        shared: dict[str, Any] = {
            "ids": tuple("/".join(frame) for frame in self.frames),
            "sequences": tuple(sequence for sequence, _ in self.frames),
            "frames": tuple(_order(number) for _, number in self.frames),
            "images": tuple(self.image_path(index) for index in range(len(self))),
            "source": f"ho3d {self.split}",
        }
        if self.split == "evaluation":
            return self._official_truth(shared)
        joints, K = np.zeros((len(self), 21, 3)), np.zeros((len(self), 3, 3))
        valid = np.zeros((len(self), 21), bool)
        for index in range(len(self)):
            found = self._annotations(index)
            K[index] = found.get("K", np.eye(3))
            if "joints_3d" in found:
                joints[index], valid[index] = found["joints_3d"], True
        return HandSet(joints=joints, joints_valid=valid, joints_2d=pixels(joints, K), K=K, **shared)

    def image_path(self, index: int) -> Path:
        """The colour image of a frame, whichever version's it is."""
        sequence, number = self.frames[index]
        return self.root / self._folder / sequence / "rgb" / f"{number}{self._suffix}"

    def depth(self, index: int) -> NDArray[np.float32]:
        """Metres [H, W] that the camera measured in a frame; 0 where it measured nothing."""
        sequence, number = self.frames[index]
        return decode_depth(read_rgb(self.root / self._folder / sequence / "depth" / f"{number}.png", LAYOUT))

    @cached_property
    def _suffix(self) -> str:
        sequence, number = self.frames[0]
        stem = self.root / self._folder / sequence / "rgb" / number
        return ".jpg" if stem.with_name(f"{number}.jpg").is_file() else ".png"

    def _frames(self) -> list[tuple[str, str]]:
        path = find_file([self.root / f"{self._folder}.txt"], LAYOUT)
        frames = []
        for count, line in enumerate(path.read_text(encoding="utf-8").split(), 1):
            sequence, slash, number = line.partition("/")
            if not (sequence and slash and number) or "/" in number or ".." in (sequence, number):
                raise HandkitError(f"{path}: entry {count} is {line!r}, not SEQUENCE/FRAME", "download it again")
            frames.append((sequence, number))
        if self.split.startswith("s2handv"):
            held_out = self.split == "s2handv-validation"
            frames = [frame for frame in frames if (frame[0] in S2HANDV_VALIDATION) == held_out]
        if not frames:
            raise HandkitError(f"{path} lists no frames of the split {self.split}", f"give the folder of {LAYOUT}")
        return frames

    def _official(self, name: str, shape: tuple[int, int], folder: str | Path | None) -> NDArray[Any] | None:
        """A file of the published truth in OpenCV axes, its own order; None where it is not there."""
        places = [self.root, self.root / "evaluation"] if folder is None else [Path(folder).expanduser()]
        found = [place / name for place in places if (place / name).is_file()]
        if not found:
            if folder is not None:
                raise HandkitError(f"{places[0] / name} does not exist", "give the folder of HO-3D's published truth")
            return None
        held = read_numbers(found[0], shape, LAYOUT)
        if len(held) != len(self):
            what = f"{found[0]} holds {len(held)} frames, evaluation.txt lists {len(self)}"
            raise HandkitError(what, "both must be of the same version of HO-3D")
        return held * OPENCV_FROM_OPENGL

    def _official_truth(self, shared: dict[str, Any]) -> HandSet:
        if self._xyz is None:
            raise HandkitError(
                f"{self.root / 'evaluation_xyz.json'} does not exist: nothing to score with",
                "get evaluation_xyz.json and evaluation_verts.json from HO-3D's page, or say where they are",
            )
        cameras: dict[str, NDArray[Any] | None] = {}
        for sequence, number in self.frames:
            if sequence not in cameras:
                path = self._meta(sequence, number)
                cameras[sequence] = (
                    numbers(read_pickle(path, LAYOUT), "camMat", (3, 3), path) if path.exists() else None
                )
        known = [cameras[sequence] for sequence, _ in self.frames]
        K = (
            None
            if any(camera is None for camera in known)
            else np.stack([camera for camera in known if camera is not None])
        )
        joints = reorder_joints(self._xyz, "ho3d")
        return HandSet(
            joints=joints,
            vertices=self._verts,
            joints_valid=np.ones(joints.shape[:2], bool),
            K=K,
            joints_2d=None if K is None else pixels(joints, K),
            **shared,
        )

    def _meta(self, sequence: str, number: str) -> Path:
        return self.root / self._folder / sequence / "meta" / f"{number}.pkl"

    def _annotations(self, index: int) -> dict[str, Any]:
        """What the schema has of a frame's file, and of the published truth."""
        path = self._meta(*self.frames[index])
        meta = read_pickle(path, LAYOUT)
        K = numbers(meta, "camMat", (3, 3), path)
        known: dict[str, Any] = {} if K is None else {"K": K}
        if self._folder == "evaluation":
            return known | self._evaluated(index, meta, path)
        joints = numbers(meta, "handJoints3D", (21, 3), path)
        if joints is None or meta.get("objRot") is None:
            return known
        known["joints_3d"] = reorder_joints(joints, "ho3d") * OPENCV_FROM_OPENGL
        if K is not None:
            known["joints_2d"] = pixels(known["joints_3d"], K)
            known |= box_around(known["joints_2d"])
        return known | _parameters(meta, joints[0], path)

    def _evaluated(self, index: int, meta: dict[Any, Any], path: Path) -> dict[str, Any]:
        known: dict[str, Any] = {}
        K = numbers(meta, "camMat", (3, 3), path)
        box = numbers(meta, "handBoundingBox", (4,), path)
        if box is not None:
            known |= box_around(box.reshape(2, 2))
        wrist = numbers(meta, "handJoints3D", (-1, 3), path)
        if self._xyz is not None:
            known["joints_3d"] = reorder_joints(self._xyz[index], "ho3d")
        elif wrist is not None:
            known["joints_3d"] = np.vstack([wrist[:1] * OPENCV_FROM_OPENGL, np.zeros((20, 3))])
            known["joints_3d_valid"] = np.arange(21) == 0
        if "joints_3d" in known and K is not None:
            known["joints_2d"] = pixels(known["joints_3d"], K)
            known["joints_2d_valid"] = known.get("joints_3d_valid", np.ones(21, bool))
        if self._verts is not None:
            known["vertices"] = self._verts[index]
            if K is not None:
                known["vertices_2d"] = pixels(self._verts[index], K)
        return known

    def _mask(self, index: int, size: tuple[int, ...]) -> dict[str, Any]:
        """The hand's pixels, where a segmentation lies beside the images; drawn at half their size."""
        sequence, number = self.frames[index]
        folder = self.root / self._folder / sequence
        for path in (folder / kind / f"{number}{suffix}" for kind in ("seg", "segr") for suffix in (".png", ".jpg")):
            if path.is_file():
                hand = (read_rgb(path, LAYOUT)[..., _HAND_CHANNEL] > 127).astype(np.uint8)
                return {"mask": cv2.resize(hand, size[::-1], interpolation=cv2.INTER_NEAREST)}
        return {}


def decode_depth(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Metres [H, W] of a depth image read as RGB [H, W, 3]: red + 256 green, in steps of `DEPTH_M`."""
    return (wide(stored[..., 0], stored[..., 1]) * DEPTH_M).astype(np.float32)


def _order(number: str) -> int:
    return int(number) if number.isdigit() else 0


def _parameters(meta: dict[Any, Any], wrist: NDArray[np.float64], path: Path) -> dict[str, Any]:
    """MANO's parameters in OpenCV axes; `wrist` is the wrist joint as the file has it."""
    pose, betas, shift = (
        numbers(meta, key, shape, path)
        for key, shape in (("handPose", (48,)), ("handBeta", (10,)), ("handTrans", (3,)))
    )
    if pose is None or betas is None or shift is None:
        return {}
    turned = np.diag(OPENCV_FROM_OPENGL) @ axis_angle_to_matrix(torch.from_numpy(pose[:3])).numpy()
    rest_wrist = wrist - shift  # the layer turns about it, so that wrist = rest_wrist + transl in any axes
    return {
        "global_orient": matrix_to_axis_angle(torch.from_numpy(turned)).numpy(),
        "hand_pose": pose[3:],
        "betas": betas,
        "transl": wrist * OPENCV_FROM_OPENGL - rest_wrist,
        "hand_model": "mano",
    }
