"""InterHand2.6M (Moon et al. 2020): one or two hands a picture, from many calibrated cameras.

Convention: the files have millimetres in the world, x_cam = R (x_world - campos), and 42 joints, the right hand's 21
and then the left's, each finger from tip to base, the wrist last; samples have one hand each, in its camera, in metres.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from jaxtyping import Float

from handkit.conventions import reorder_joints
from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    find_file,
    pixels,
    read_chw,
)
from handkit.data.flat_json import field, read_flat_objects
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError

SPLITS: Final = ("train", "val", "test")
SIDES: Final = ("right", "left")
HANDS: Final = ("all", "single", "interacting")
LAYOUT: Final = (
    "InterHand2.6M: annotations/<split>/InterHand2.6M_<split>_{data,camera,joint_3d}.json and "
    "images/<split>/Capture0/..."
)
_AGAIN: Final = "copy or download it again"


class InterHand(AnnotatedDataset):
    """InterHand2.6M's hands, the right one of a picture before the left, named "<picture>_<side>".

    `hands` chooses pictures of "single" or "interacting" hands. As in the data set's own evaluation a hand whose wrist
    is not annotated is left out. `subset` is the folder between annotations/ and the files of older releases ("all",
    "human_annot", "machine_annot"). Raises HandkitError for files that are missing, cut off or do not belong together.
    """

    def __init__(self, root: str | Path, split: str = "test", *, hands: str = "all", subset: str | None = None) -> None:
        self.root = check_root(root, LAYOUT)
        self.split = check_choice("split of InterHand2.6M", split, SPLITS)
        check_choice("choice of hands", hands, HANDS)
        self._subset = subset
        self._cameras = self._read("camera")
        self._joints_mm = self._read("joint_3d")
        self._data = self._file("data")
        images: dict[int, dict[str, Any]] = {}
        annotations: list[dict[str, Any]] = []
        for entry in read_flat_objects(self._data, LAYOUT):
            if "joint_valid" in entry:
                annotations.append(entry)
            elif "file_name" in entry:
                images[int(field(entry, "id", self._data))] = entry
        self._load(images, annotations, hands)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> HandSample:
        joints, valid, K = self._joints[index], self._valid[index], self._K[index]
        flat = pixels(joints, K)
        return build_sample(
            read_chw(self._paths[index], LAYOUT),
            is_right=bool(self._is_right[index]),
            dataset="interhand",
            name=self._names[index],
            sequence=self._sequences[index],
            frame=self._frames[index],
            K=K,
            joints_3d=joints,
            joints_3d_valid=valid,
            joints_2d=flat,
            joints_2d_valid=valid,
            **box_around(flat[valid]),
        )

    def truth(self) -> HandSet:
        """All joints that are annotated."""
        return HandSet(
            ids=tuple(self._names),
            joints=self._joints,
            joints_2d=pixels(self._joints, self._K),
            joints_valid=self._valid,
            sequences=tuple(self._sequences),
            frames=tuple(self._frames),
            images=tuple(self._paths),
            K=self._K,
            source=f"interhand {self.split}",
        )

    def _load(self, images: dict[int, dict[str, Any]], annotations: list[dict[str, Any]], hands: str) -> None:
        """One entry a hand, joints in our order and metres in the camera's frame."""
        self._names: list[str] = []
        self._paths: list[Path] = []
        self._sequences: list[str] = []
        self._frames: list[int] = []
        joints, valids, cameras, sides = [], [], [], []
        for annotation in annotations:
            kind = field(annotation, "hand_type", self._data)
            if hands != "all" and (kind == "interacting") != (hands == "interacting"):
                continue
            number = int(field(annotation, "image_id", self._data))
            if number not in images:
                raise HandkitError(f"{self._data} lacks image {number} of its annotations", _AGAIN)
            image = images[number]
            K, points, known = self._hands_of(image, annotation)
            name = str(field(image, "file_name", self._data))
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise HandkitError(f"{self._data}: image {number} is called {name!r}", "do not trust this file")
            for side, is_right in enumerate((True, False)):
                if not known[side, 0]:
                    continue
                self._names.append(f"{Path(name).with_suffix('').as_posix()}_{SIDES[side]}")
                self._paths.append(self.root / "images" / self.split / name)
                place = (f"Capture{image['capture']}", image.get("seq_name", ""), f"cam{image['camera']}", SIDES[side])
                self._sequences.append("/".join(map(str, place)))
                self._frames.append(int(image["frame_idx"]))
                joints.append(points[side])
                valids.append(known[side])
                cameras.append(K)
                sides.append(is_right)
        if not joints:
            raise HandkitError(f"{self._data} holds no {hands} hands that are annotated", "check what was copied")
        self._joints, self._valid = np.stack(joints), np.stack(valids)
        self._K, self._is_right = np.stack(cameras), np.array(sides)

    def _hands_of(
        self, image: dict[str, Any], annotation: dict[str, Any]
    ) -> tuple[np.ndarray, Float[np.ndarray, "2 21 3"], np.ndarray]:
        """K, joints of both hands, and which are valid [2, 21]; zeros where not."""
        capture, camera, frame = (str(field(image, key, self._data)) for key in ("capture", "camera", "frame_idx"))
        try:
            lens = self._cameras[capture]
            position, R = (np.asarray(lens[key][camera], np.float64) for key in ("campos", "camrot"))
            fx, fy = lens["focal"][camera]
            cx, cy = lens["princpt"][camera]
            world = np.asarray(self._joints_mm[capture][frame]["world_coord"], np.float64).reshape(42, 3)
            R, position = R.reshape(3, 3), position.reshape(3)
            valid = np.asarray(annotation["joint_valid"], bool).reshape(2, 21)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            what = (
                f"{self._data}: capture {capture}, camera {camera}, frame {frame} is not in the other files ({error!r})"
            )
            raise HandkitError(what, _AGAIN) from error
        points = (((world - position) @ R.T) / 1000).reshape(2, 21, 3)
        valid = reorder_joints(valid[..., None] & (points[..., 2:] > 0), "interhand")[..., 0]
        points = np.where(valid[..., None], reorder_joints(points, "interhand"), 0.0)
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64), points, valid

    def _file(self, kind: str) -> Path:
        name = f"InterHand2.6M_{self.split}_{kind}.json"
        folder = self.root / "annotations"
        places = [folder / self._subset / name] if self._subset else [folder / self.split / name, folder / "all" / name]
        return find_file(places, LAYOUT)

    def _read(self, kind: str) -> dict[str, Any]:
        path = self._file(kind)
        try:
            held = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise HandkitError(f"{path} is cut off or damaged: {error}", _AGAIN) from error
        if not isinstance(held, dict):
            raise HandkitError(f"{path} is no object by capture", _AGAIN)
        return held
