"""Shards written here, by tarfile alone, in the layout that `handkit generate` documents."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from handkit.hand import ManoLayer, load_hand

SIZE = 48
HAND = load_hand("open")


def sequence_arrays(seed: int, frames: int, coefficients: int = 10) -> list[dict[str, np.ndarray]]:
    """What hand.npz holds for each frame of a sequence: x = R M(theta, beta) about the model's origin."""
    rng = np.random.default_rng(seed)
    layer = ManoLayer(HAND, num_pca=10, flat_hand_mean=False) if coefficients == 10 else ManoLayer(HAND)
    beta = rng.uniform(-2, 2, 10).astype(np.float32)
    rows = []
    for _ in range(frames):
        theta, r = (rng.normal(0, 0.3, n).astype(np.float32) for n in (coefficients, 3))
        posed = layer(hand_pose=torch.from_numpy(theta).double(), betas=torch.from_numpy(beta).double())
        R = cv2.Rodrigues(r.astype(np.float64))[0]
        vertices, joints = (points.numpy() @ R.T for points in posed)
        s, t = np.float32(rng.uniform(120, 160)), rng.uniform(20, 28, 2).astype(np.float32)
        arrays = {"theta": theta, "beta": beta, "r": r, "s": s, "t": t, "vertices": vertices, "joints_3d": joints}
        arrays |= {"joints_2d": s * joints[:, :2] + t, "is_right": np.array(True)}
        rows.append({k: v if v.dtype == bool else np.float32(v) for k, v in arrays.items()})
    return rows


def picture(number: int) -> np.ndarray:
    """RGB [48, 48, 3] that tells its number; colours differ so that a swap of channels shows."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[...] = (200, 100, 10 + number)
    return image


def mask(number: int) -> np.ndarray:
    """Labels [48, 48]: background, forearm, occluder, and 100 + number pixels of hand."""
    labels = np.zeros(SIZE * SIZE, np.uint8)
    labels[: 100 + number] = 255
    labels[-200:-100], labels[-100:] = 128, 64
    return labels.reshape(SIZE, SIZE)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])[1].tobytes()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def write_tar(path: Path, parts: list[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in parts:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mtime = 1.5 if format == tarfile.PAX_FORMAT else 0  # a fraction takes an extended header
            archive.addfile(member, io.BytesIO(content))
    return path


def frame_parts(sequence: int, frame: int, arrays: dict[str, np.ndarray]) -> list[tuple[str, bytes]]:
    key = f"{sequence:06d}_{frame:03d}"
    number = 10 * sequence + frame
    found = {"image.png": png(picture(number)), "mask.png": png(mask(number)), "hand.npz": npz(arrays)}
    return [(f"{key}.{part}", content) for part, content in found.items()]


def write_card(folder: Path, kind: str, **changes: Any) -> None:
    """dataset.json as a finished run leaves it."""
    shards = [{"name": path.name, "bytes": path.stat().st_size} for path in sorted(folder.glob("*.tar"))]
    card = {"kind": kind, "settings": {"hand_model": "open", "split": "val"}, "shards": shards, **changes}
    (folder / "dataset.json").write_text(json.dumps(card))


def write_sequences(folder: Path, *, shards: int = 3, each: int = 2, frames: int = 4, coefficients: int = 10) -> Path:
    """A folder of shards with `each` sequences of `frames` frames, and its dataset.json."""
    folder.mkdir(exist_ok=True)
    for number in range(shards):
        parts = []
        for sequence in range(number * each, (number + 1) * each):
            for frame, arrays in enumerate(sequence_arrays(sequence, frames, coefficients)):
                parts += frame_parts(sequence, frame, arrays)
        write_tar(folder / f"seqhand-val-{number:06d}.tar", parts)
    write_card(folder, "seqhand")
    return folder
