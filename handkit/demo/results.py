"""Writing what was found: hands.npz, and the files for other programs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from handkit.demo.hands import HandPair, with_vertices
from handkit.demo.options import DemoOptions
from handkit.demo.summary import InputRecord
from handkit.errors import HandkitError
from handkit.export.glb import tracks_from_predictions, write_animated_glb, write_glb
from handkit.export.json import write_json
from handkit.export.mesh import write_mesh
from handkit.export.predictions import Predictions, load_predictions, save_predictions
from handkit.render.overlay import Mesh, track_color

HANDS: Final = "hands.npz"
MESHES: Final = "meshes"


def read_hands(folder: Path) -> Predictions | None:
    """The rows that an earlier run wrote, None where there are none to be read."""
    try:
        return load_predictions(folder / HANDS)
    except HandkitError:
        return None


def write_hands(
    folder: Path, rows: Predictions, records: Sequence[InputRecord], hands: HandPair, options: DemoOptions, method: str
) -> None:
    """hands.npz, and hands.json where asked for."""
    sources = dict.fromkeys(record.camera_source for record in records if record.camera_source)
    rows = replace(
        rows,
        vertices=None,
        inputs=[record.input for record in records],
        status=[record.status_text for record in records],
        hand_model=hands.name,
        method=method,
        camera_source="; ".join(sources),
    )
    if "json" in options.export:
        write_json(folder / "hands.json", rows)
    save_predictions(folder / HANDS, with_vertices(rows, hands) if options.vertices else rows)


def write_meshes(folder: Path, rows: Predictions, hands: HandPair, formats: Sequence[str]) -> None:
    """Of stills: meshes/<image>_<hand>_<side> as .obj or .ply, and meshes/<image>.glb with all its hands."""
    for image in dict.fromkeys(rows.image.tolist()):
        chosen = np.flatnonzero(rows.image == image).tolist()
        vertices = hands.vertices(rows, chosen)
        if "glb" in formats:
            models = [hands.model(bool(rows.is_right[row])) for row in chosen]
            colors = [track_color(int(rows.track_id[row])) for row in chosen]
            meshes = [Mesh(v, m.faces, c) for v, m, c in zip(vertices, models, colors, strict=True)]
            write_glb(folder / MESHES / f"{image}.glb", meshes)
        for row, mesh in zip(chosen, vertices, strict=True):
            _write_mesh(folder, image, rows, row, mesh, hands, formats)


def write_track_meshes(folder: Path, rows: Predictions, hands: HandPair, formats: Sequence[str]) -> None:
    """Of a video: meshes/<frame>_<track>_<side> as .obj or .ply, and one animated hands.glb."""
    if "glb" in formats and len(rows):
        sides = {"right" if is_right else "left" for is_right in rows.is_right}
        models = {side: hands.model(side == "right") for side in sides}
        write_animated_glb(folder / "hands.glb", tracks_from_predictions(rows, models))
    for row in range(len(rows)) if {"obj", "ply"} & set(formats) else ():
        (mesh,) = hands.vertices(rows, [row])
        _write_mesh(folder, f"{rows.frame[row]:06d}", rows, row, mesh, hands, formats)


def _write_mesh(
    folder: Path,
    picture: str,
    rows: Predictions,
    row: int,
    mesh: np.ndarray,
    hands: HandPair,
    formats: Sequence[str],
) -> None:
    is_right = bool(rows.is_right[row])
    model = hands.model(is_right)
    stem = f"{picture}_{rows.track_id[row]}_{'right' if is_right else 'left'}"
    for name in ("obj", "ply"):
        if name in formats:
            write_mesh(folder / MESHES / f"{stem}.{name}", mesh, model.faces, vertex_colors=model.vertex_colors)
