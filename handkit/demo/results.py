"""Writing what was found: hands.npz, what the hands look like, and the files for other programs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from handkit.demo.hands import HandPair, with_vertices
from handkit.demo.options import DemoOptions
from handkit.demo.posed import Posed
from handkit.demo.summary import InputRecord
from handkit.demo.textures import Skin, SkinMaker
from handkit.errors import HandkitError
from handkit.export.appearance import load_appearance, save_appearance
from handkit.export.glb import tracks_from_predictions, write_animated_glb, write_glb
from handkit.export.json import write_json
from handkit.export.mesh import write_mesh
from handkit.export.predictions import Predictions, load_predictions, save_predictions
from handkit.export.textured import write_material, write_obj_of_material
from handkit.hand import HandModel
from handkit.render.overlay import Mesh, track_color

HANDS: Final = "hands.npz"
APPEARANCE: Final = "appearance.npz"
MESHES: Final = "meshes"


def read_hands(folder: Path, *, has_appearance: bool = False) -> Posed | None:
    """The hands that an earlier run wrote, None where there are none to be read, or no appearance of theirs."""
    try:
        rows = load_predictions(folder / HANDS)
        appearance = load_appearance(folder / APPEARANCE) if has_appearance else None
    except HandkitError:
        return None
    return None if appearance is not None and len(appearance) != len(rows) else Posed(rows, appearance)


def write_hands(
    folder: Path, posed: Posed, records: Sequence[InputRecord], hands: HandPair, options: DemoOptions, method: str
) -> None:
    """hands.npz, appearance.npz where the hands have one, and hands.json where asked for."""
    sources = dict.fromkeys(record.camera_source for record in records if record.camera_source)
    rows = replace(
        posed.rows,
        vertices=None,
        inputs=[record.input for record in records],
        status=[record.status_text for record in records],
        hand_model=hands.name,
        method=method,
        camera_source="; ".join(sources),
    )
    if "json" in options.export:
        write_json(folder / "hands.json", rows)
    if posed.appearance is not None:
        save_appearance(folder / APPEARANCE, posed.appearance)
    else:
        # An earlier run's would be of other rows.
        (folder / APPEARANCE).unlink(missing_ok=True)
    save_predictions(folder / HANDS, with_vertices(rows, hands) if options.vertices else rows)


def write_meshes(folder: Path, posed: Posed, hands: HandPair, formats: Sequence[str]) -> None:
    """Of stills: meshes/<image>_<hand>_<side> as .obj or .ply, and meshes/<image>.glb with all its hands.

    With their textures where the hands have an appearance.
    """
    rows, maker = posed.rows, SkinMaker(hands)
    for image in dict.fromkeys(rows.image.tolist()) if {"obj", "ply", "glb"} & set(formats) else ():
        chosen = np.flatnonzero(rows.image == image)
        vertices = hands.vertices(rows, chosen.tolist())
        skins: list[Skin | None] = [None] * len(chosen)
        if posed.appearance is not None:
            looks = [(posed.appearance.rows(chosen[[i]]), bool(rows.is_right[chosen[i]])) for i in range(len(chosen))]
            skins = [maker.of(look, is_right=is_right) for look, is_right in looks]
        if "glb" in formats:
            models = [hands.model(bool(rows.is_right[row])) for row in chosen]
            colors = [track_color(int(rows.track_id[row])) for row in chosen]
            meshes = [Mesh(v, m.faces, c) for v, m, c in zip(vertices, models, colors, strict=True)]
            surfaces = [skin.surface for skin in skins if skin is not None]
            write_glb(folder / MESHES / f"{image}.glb", meshes, surfaces or None)
        for row, mesh, skin in zip(chosen.tolist(), vertices, skins, strict=True):
            stem = f"{image}_{_hand(rows, row)}"
            material = _write_material(folder, stem, skin, formats)
            _write_mesh(folder, stem, mesh, hands.model(bool(rows.is_right[row])), formats, skin, material)


def write_track_meshes(folder: Path, posed: Posed, hands: HandPair, formats: Sequence[str]) -> None:
    """Of a video: meshes/<frame>_<track>_<side> as .obj or .ply, and one animated hands.glb.

    Where the hands have an appearance each track has its mean texture; its .obj share the material of its name.
    """
    rows = posed.rows
    if not len(rows) or not {"obj", "ply", "glb"} & set(formats):
        return
    skins = SkinMaker(hands).of_tracks(posed)
    if "glb" in formats:
        sides = {"right" if is_right else "left" for is_right in rows.is_right}
        models = {side: hands.model(side == "right") for side in sides}
        textures = {track: skin.surface.texture for track, skin in skins.items()}
        write_animated_glb(folder / "hands.glb", tracks_from_predictions(rows, models, textures or None))
    materials: dict[int, Path | None] = {}
    for row in range(len(rows)) if {"obj", "ply"} & set(formats) else ():
        track = int(rows.track_id[row])
        skin = skins.get(track)
        if track not in materials:
            materials[track] = _write_material(folder, f"track_{_hand(rows, row)}", skin, formats)
        (mesh,) = hands.vertices(rows, [row])
        stem = f"{rows.frame[row]:06d}_{_hand(rows, row)}"
        _write_mesh(folder, stem, mesh, hands.model(bool(rows.is_right[row])), formats, skin, materials[track])


def _hand(rows: Predictions, row: int) -> str:
    return f"{rows.track_id[row]}_{'right' if rows.is_right[row] else 'left'}"


def _write_material(folder: Path, name: str, skin: Skin | None, formats: Sequence[str]) -> Path | None:
    """The material of a texture, where .obj files are to have one."""
    if skin is None or "obj" not in formats:
        return None
    return write_material(folder / MESHES / f"{name}.mtl", skin.surface.texture)[0]


def _write_mesh(
    folder: Path,
    stem: str,
    mesh: Float[np.ndarray, "778 3"],
    model: HandModel,
    formats: Sequence[str],
    skin: Skin | None,
    material: Path | None,
) -> None:
    colors = model.vertex_colors if skin is None else skin.vertex_colors(model.faces)
    if "ply" in formats:
        write_mesh(folder / MESHES / f"{stem}.ply", mesh, model.faces, vertex_colors=colors)
    if "obj" in formats and skin is not None and material is not None:
        write_obj_of_material(folder / MESHES / f"{stem}.obj", mesh, model.faces, skin.surface.face_uvs, material)
    elif "obj" in formats:
        write_mesh(folder / MESHES / f"{stem}.obj", mesh, model.faces, vertex_colors=colors)
