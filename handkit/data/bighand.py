"""BigHand2.2M in the form of HANDS2017 (Yuan et al. 2017): depth images and a text file of joints.

Convention: the text has a picture's name and 63 millimetres a line, OpenCV axes; samples are in metres, joints in our
order. Pictures are depth in millimetres, 16 bit, 640 x 480.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    find_file,
    pixels,
)
from handkit.data.hands import HandSet
from handkit.data.joint_files import read_joints
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError

SPLITS: Final = {"training": "Training_Annotation.txt", "test": "Test_Annotation.txt"}
LAYOUT: Final = "HANDS2017: training/Training_Annotation.txt and training/images/image_D00000001.png, ..."
K: Final = np.array([[475.065948, 0, 315.944855], [0, 475.065857, 245.287079], [0, 0, 1]])
# Beyond it the grey picture of a depth image is black, as where nothing was measured.
FAR_M: Final = 1.5


class BigHand(AnnotatedDataset):
    """The depth images of a HANDS2017 text file, their joints in metres.

    A sample's image is the depth as grey, nearer is brighter; `depth` gives metres. `annotation` names another text
    file, `images` another folder of pictures; scores and pose banks need no pictures. The hands are right ones unless
    `is_right` says otherwise. Raises HandkitError naming the line that is not a name and 63 numbers.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "training",
        *,
        annotation: str | Path | None = None,
        images: str | Path | None = None,
        is_right: bool = True,
        show_progress: bool = False,
    ) -> None:
        self.root = check_root(root, LAYOUT)
        self.split = check_choice("split of BigHand2.2M", split, SPLITS)
        self._path = find_file([Path(annotation)] if annotation else self._places(SPLITS[split]), LAYOUT)
        self._is_right = is_right
        self._joints = read_joints(self._path, show_progress=show_progress) / np.float32(1000)
        with self._path.open(encoding="latin1") as file:
            self._names = [line.split(maxsplit=1)[0] for line in file if line.strip()]
        folders = [Path(images)] if images else [self._path.parent / "images", *self._places("images")]
        self._images = next((folder for folder in folders if folder.is_dir()), folders[0])

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> HandSample:
        joints = self._joints[index]
        seen = joints[:, 2] > 0
        flat = pixels(joints, K)
        return build_sample(
            np.repeat(grey_of_depth(self.depth(index))[None], 3, axis=0),
            is_right=self._is_right,
            dataset="bighand",
            name=self._names[index],
            frame=index,
            K=K,
            joints_3d=joints,
            joints_3d_valid=seen,
            joints_2d=flat,
            joints_2d_valid=seen,
            **box_around(flat[seen]),
        )

    def truth(self) -> HandSet:
        """All joints; pictures only where their folder exists."""
        has_images = self._images.is_dir()
        return HandSet(
            ids=tuple(self._names),
            joints=self._joints,
            joints_2d=pixels(self._joints, K),
            joints_valid=self._joints[..., 2] > 0,
            images=tuple(self._images / name for name in self._names) if has_images else None,
            K=np.broadcast_to(K, (len(self), 3, 3)),
            source=f"bighand {self.split}",
        )

    def depth(self, index: int) -> NDArray[np.float32]:
        """Metres [H, W] of a sample's picture, 0 where nothing was measured."""
        path = find_file([self._images / self._names[index]], LAYOUT)
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
            raise HandkitError(f"{path} is not a 16-bit depth image", "copy or download it again")
        return stored.astype(np.float32) / 1000

    def _places(self, name: str) -> list[Path]:
        return [self.root / self.split / name, self.root / name]


def grey_of_depth(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey [H, W]: 255 at the camera, 0 at 1.5 m and where depth is 0."""
    near = np.clip(1 - depth / FAR_M, 0, 1)
    return np.where(depth > 0, np.rint(255 * near), 0).astype(np.uint8)
