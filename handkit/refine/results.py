"""What a `refine` run writes of one predictions file: hands.npz, refined.csv, overlays."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from handkit.demo.drawing import draw_hands, write_overlay_video
from handkit.demo.hands import HandPair, project_rows, with_vertices
from handkit.demo.inputs import OVERLAY_FOLDER, OVERLAY_VIDEO
from handkit.demo.posed import Posed
from handkit.demo.results import HANDS
from handkit.export.predictions import VERTICES_ROW, Predictions, save_predictions
from handkit.files import atomic_path
from handkit.images import write_image
from handkit.refine.inputs import Pictures
from handkit.video import VideoReader

CSV: Final = "refined.csv"
FILM: Final = "convergence.mp4"
FIGURES: Final = ("iou_before", "iou_after", "loss_before", "loss_after")
Status = Literal["refined", "kept", "failed"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one hand; the arrays are the refined row's, None where the original stays; views: seen by."""

    status: Status
    why: str = ""
    fix: str = ""
    iou_before: float = float("nan")
    iou_after: float = float("nan")
    loss_before: float = float("nan")
    loss_after: float = float("nan")
    arrays: dict[str, np.ndarray] | None = None
    views: int = 1


def refined_rows(rows: Predictions, outcomes: Sequence[Outcome], method: str) -> Predictions:
    """The rows with what refinement changed; hands that kept their original have offsets of zero."""
    offsets = rows.vertex_offsets
    columns: dict[str, Any] = {
        name: getattr(rows, name).copy()
        for name in ("global_orient", "hand_pose", "betas", "transl", "joints_3d", "joints_2d")
    }
    columns["vertex_offsets"] = np.zeros((len(rows), *VERTICES_ROW), np.float32) if offsets is None else offsets.copy()
    for row, outcome in enumerate(outcomes):
        for name, value in (outcome.arrays or {}).items():
            columns[name][row] = value
        if outcome.arrays is not None:
            joints = outcome.arrays["joints_3d"]
            columns["joints_2d"][row] = project_rows(joints[None], rows.K[[row]])[0]
    return replace(rows, **columns, vertices=None, method=f"{rows.method} + refine ({method})")


def write_refined(folder: Path, rows: Predictions, hands: HandPair, *, vertices: bool) -> None:
    """hands.npz, with the meshes where asked for."""
    save_predictions(folder / HANDS, with_vertices(rows, hands) if vertices else rows)


def write_csv(folder: Path, rows: Predictions, outcomes: Sequence[Outcome]) -> None:
    """refined.csv: a line per hand and frame."""
    with atomic_path(folder / CSV) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = ("frame", "time_s", "image", "track_id", "side")
        writer.writerow([*names, *FIGURES, "views", "status", "why"])
        for row, outcome in enumerate(outcomes):
            figures = [getattr(outcome, name) for name in FIGURES]
            writer.writerow(
                [
                    int(rows.frame[row]),
                    f"{rows.time_s[row]:.6g}",
                    str(rows.image[row]),
                    int(rows.track_id[row]),
                    "right" if rows.is_right[row] else "left",
                    *(f"{figure:.6g}" if np.isfinite(figure) else "" for figure in figures),
                    outcome.views,
                    outcome.status,
                    outcome.why,
                ]
            )


def write_overlays(folder: Path, rows: Predictions, pictures: Pictures, hands: HandPair, rotate: int) -> None:
    """The refined meshes over the pictures: overlay/ for stills, overlay.mp4 (or a name each) for videos."""
    videos = pictures.videos
    for name, path in pictures.paths.items():
        own = np.flatnonzero(rows.image == name)
        own = own[np.lexsort((rows.track_id[own], rows.frame[own]))]
        part = rows.rows(own)
        if name in videos:
            reader = VideoReader(path, rotate=rotate)
            target = folder / (OVERLAY_VIDEO if len(videos) == 1 else f"{OVERLAY_FOLDER}/{Path(name).stem}.mp4")
            frames = pictures.read_frames(reader)
            write_overlay_video(target, frames, Posed(part), hands, side_by_side=False, fps=reader.fps)
            continue
        image = pictures.read_still(path, rotate)
        if tuple(part.image_size[0]) != (image.shape[1], image.shape[0]):
            continue
        drawn = draw_hands(image, part, hands.vertices(part, range(len(part))), hands, None)
        suffix = "" if Path(name).suffix.lower() in (".jpg", ".jpeg") else ".jpg"
        write_image(folder / OVERLAY_FOLDER / f"{name}{suffix}", drawn)
