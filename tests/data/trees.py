"""Small folders in the layouts of published data sets, of open hands before a camera."""

from pathlib import Path

import numpy as np
import scipy.io

from handkit.conventions import JOINT_ORDERS
from handkit.hand.palm import palm_center
from tests.data.posing import plain, posed, silhouette, write_image, write_json
from tests.data.test_freihand import K, mano_vector


def write_freihand(folder: Path, count: int = 2) -> Path:
    """FreiHAND's training split: every pose in four plain colours."""
    hands = [posed(seed) for seed in range(count)]
    write_json(folder / "training_K.json", [K] * count)
    write_json(folder / "training_xyz.json", [hand["regressed"] for hand in hands])
    write_json(folder / "training_verts.json", [hand["vertices"] for hand in hands])
    write_json(folder / "training_mano.json", [[mano_vector(hand)] for hand in hands])
    for number in range(4 * count):
        colour = (250, 20 * (number // count), 5)
        write_image(folder / "training" / "rgb" / f"{number:08d}.jpg", plain((224, 224), colour))
    for number, hand in enumerate(hands):
        mask = 255 * silhouette(hand["vertices"], K, (224, 224)).astype(np.uint8)
        write_image(folder / "training" / "mask" / f"{number:08d}.jpg", mask)
    return folder


def write_stb(
    folder: Path,
    frames: int = 2,
    sequences: tuple[str, ...] = ("B1Counting", "B1Random"),
    views: tuple[str, ...] = ("left",),
) -> Path:
    """STB's colour cameras: palm centres and fingers of left hands, 640 x 480."""
    (folder / "labels").mkdir(parents=True)
    for number, sequence in enumerate(sequences):
        joints = np.stack([posed(frames * number + frame, side="left")["joints"] for frame in range(frames)])
        joints[:, 0] = palm_center(joints)
        theirs = 1000 * joints[:, list(JOINT_ORDERS["stb"])].transpose(2, 1, 0)
        scipy.io.savemat(folder / "labels" / f"{sequence}_BB.mat", {"handPara": theirs})
        for frame in range(frames):
            for view in views:
                write_image(folder / sequence / f"BB_{view}_{frame}.png", plain((480, 640)))
    return folder
