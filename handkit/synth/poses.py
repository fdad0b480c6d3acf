"""The pose bank: hand poses as 21 joints in one canonical form, sampled or read from annotations.

Canonical form: our joint order, metres, the wrist at the origin, turned and scaled so that the palm (wrist and the four
finger bases) fits the open hand's rest palm best, by least squares; right hands.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8

from handkit.data.joint_files import file_signature, read_joints
from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.machine import cache_folder
from handkit.synth.bank_builtin import BUILTIN_KINDS, VERSION, sample_bank
from handkit.synth.bank_kinematics import open_skeleton

logger = logging.getLogger("handkit")

PALM: Final = (0, 5, 9, 13, 17)
_CHUNK: Final = 100_000


@dataclass(frozen=True, eq=False)
class PoseBank:
    """N poses in canonical form; `kind[i]` is a row of `kinds`; `hand_pose` is axis-angle of a flat hand, or None."""

    joints: Float32[np.ndarray, "N 21 3"]
    kind: UInt8[np.ndarray, " N"]
    kinds: tuple[str, ...]
    hand_pose: Float32[np.ndarray, "N 45"] | None
    source: str

    def __len__(self) -> int:
        return len(self.joints)


def canonicalize(joints: Float[np.ndarray, "*B 21 3"]) -> Float[np.ndarray, "*B 21 3"]:
    """Joints of right hands in any position, turn and size to the canonical form; NaN where the palm has no size."""
    given = np.asarray(joints)
    flat = given.reshape(-1, 21, 3)
    out = np.empty(flat.shape, given.dtype if given.dtype.kind == "f" else np.float64)
    for start in range(0, len(flat), _CHUNK):
        out[start : start + _CHUNK] = _fit_palm(flat[start : start + _CHUNK].astype(np.float64))
    return out.reshape(given.shape)


def load_pose_bank(
    source: str = "builtin", *, seed: int = 0, size: int = 300_000, show_progress: bool = False
) -> PoseBank:
    """The bank sampled from `seed` ("builtin"), or that of a file or folder; kept in the cache for the next time.

    Files: BigHand2.2M annotations (.txt), joints [N, 21, 3] (.npy), FreiHAND's and HO-3D's lists of joints (.json),
    a folder of HO-3D's meta pickles. `size` counts the built-in poses; from a larger file, all are taken. Poses with
    values that are not finite are dropped and counted in the log. Raises HandkitError for a file that is missing or
    cannot be read.
    """
    if source == "builtin":
        return _builtin(seed, size, show_progress)
    path = Path(source).expanduser()
    if not path.exists():
        raise HandkitError(f"no pose file {source!r}", 'use "builtin" or an annotation file that exists')
    cached = cache_folder() / "poses" / f"{path.stem[:60]}-{file_signature(path)}.npy"
    joints = _read_cache(cached)
    if joints is None:
        joints = _keep(cached, _to_bank(read_joints(path, show_progress=show_progress), path))
    kind = np.zeros(len(joints), np.uint8)
    return PoseBank(joints=joints, kind=kind, kinds=("measured",), hand_pose=None, source=str(path))


def _builtin(seed: int, size: int, show_progress: bool) -> PoseBank:
    if size < 1:
        raise HandkitError(f"a pose bank of {size} poses", "use at least 1")
    stem = cache_folder() / "poses" / f"builtin-{VERSION}-{seed}-{size}"
    files = [stem.with_name(f"{stem.name}-{name}.npy") for name in ("joints", "angles", "kinds")]
    kept = [_read_cache(file) for file in files]
    shapes = [(size, 21, 3), (size, 45), (size,)]
    arrays = [array for array, shape in zip(kept, shapes, strict=True) if array is not None and array.shape == shape]
    if len(arrays) < len(files):
        sampled = sample_bank(size, seed, show_progress=show_progress)
        arrays = [_keep(file, array) for file, array in zip(files, sampled, strict=True)]
    joints, hand_pose, kind = arrays
    return PoseBank(joints=joints, kind=kind, kinds=BUILTIN_KINDS, hand_pose=hand_pose, source="builtin")


def _read_cache(path: Path) -> np.ndarray | None:
    """The array of a cache file, mapped so that processes share its memory; None where there is none to be read.

    Who writes to it gets a copy of that page; the file stays as it is.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _keep(path: Path, array: np.ndarray) -> np.ndarray:
    """Write a cache file, and give the array as it is read from there."""
    with atomic_path(path) as partial:
        np.save(partial, array)
    kept = _read_cache(path)
    return array if kept is None else kept


def _to_bank(joints: np.ndarray, path: Path) -> np.ndarray:
    """Canonical float32 poses of a file's joints: mirrored if they are left hands, without those not finite."""
    canonical = canonicalize(joints.astype(np.float32, copy=False))
    good = np.isfinite(canonical).all(axis=(1, 2))
    if not good.any():
        raise HandkitError(f"{path} holds no pose that can be used", "give joints [N, 21, 3] with finite values")
    if not good.all():
        logger.warning("%s: %d of %d poses are not finite and were left out", path, (~good).sum(), len(good))
        canonical = canonical[good]
    if _looks_left(canonical):
        logger.warning("%s: the fingers bend to the back of a right hand; taken as left hands and mirrored", path)
        canonical = canonicalize(joints[good].astype(np.float32) * np.array([-1, 1, 1], np.float32))
    return canonical


def _looks_left(canonical: np.ndarray) -> bool:
    """Whether the fingertips lie, on the whole, on the back's side (+y) of the line along their first bones."""
    base, second, tip = canonical[:, 5::4], canonical[:, 6::4], canonical[:, 8::4]
    bone = second - base
    along = (tip - base)[..., 0] / np.minimum(bone[..., 0], -1e-3)
    return bool(np.mean((tip - base)[..., 1] - np.clip(along, 0, 4) * bone[..., 1]) > 0)


@lru_cache(maxsize=1)
def rest_palm() -> np.ndarray:
    """Wrist and finger bases [5, 3] of the open hand's mean shape at rest, the wrist at the origin."""
    rest = open_skeleton().rest
    return rest[[0, 1, 4, 10, 7]]


def _fit_palm(joints: np.ndarray) -> np.ndarray:
    """Canonical form [N, 21, 3] of float64 joints: the similarity that takes each palm to the rest palm."""
    finite = np.isfinite(joints).all(axis=(1, 2))
    local = np.where(finite[:, None, None], joints, 0) - np.where(finite[:, None, None], joints[:, :1], 0)
    palm, rest = local[:, PALM], rest_palm()
    source, target = palm - palm.mean(axis=1, keepdims=True), rest - rest.mean(axis=0)
    size = np.square(source).sum(axis=(1, 2))
    u, _, vt = np.linalg.svd(np.einsum("na,bnc->bac", target, source))
    u[:, :, 2] *= np.linalg.det(u @ vt).round()[:, None]  # a proper rotation
    R = u @ vt
    scale = np.einsum("na,bac,bnc->b", target, R, source) / np.where(size > 0, size, np.nan)
    out = scale[:, None, None] * local @ R.transpose(0, 2, 1)
    out[~finite] = np.nan
    return out
