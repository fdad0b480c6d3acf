"""Texture and personal rig from refined hands: every hand of a video gathers its frames, every hand of a still its own.

Written to textures/<picture>_<track>_<side>/: texture.png, texture.obj (with .mtl), and rig.glb.
"""

from pathlib import Path
from typing import Final

import numpy as np

from handkit.demo.hands import HandPair
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.export.textured import write_rig_glb, write_textured_obj
from handkit.hand.rig import offsets_to_rest
from handkit.hand.uv import hand_uv
from handkit.refine.inputs import Pictures, Shot, read_shots
from handkit.refine.masks import MaskChoice, projected_mask
from handkit.render.inpaint import fill_texture
from handkit.render.texture import Texels, TextureAverage, texels_of, unproject

TEXTURES: Final = "textures"
SIZE: Final = 1024


def write_textures(
    folder: Path, rows: Predictions, pictures: Pictures, hands: HandPair, masks: MaskChoice, rotate: int, share: float
) -> int:
    """Texture all refined hands `rows`; how many textures were written.

    share: how much of each new frame enters what was seen before. Pictures and masks are read again; hands whose mask
    or picture cannot be used were told of before, and are passed over.
    """
    averages: dict[tuple[str, int, bool], TextureAverage] = {}
    members: dict[tuple[str, int, bool], list[int]] = {}
    texels: dict[bool, Texels] = {}
    for shot in read_shots(pictures, rows, rotate):
        if not isinstance(shot, Shot):
            continue
        chosen, size = shot.rows.tolist(), (shot.image.shape[0], shot.image.shape[1])
        meshes = hands.vertices(rows, chosen)
        drawn = [
            projected_mask(mesh, hands.model(bool(rows.is_right[row])).faces, rows.K[row], size)
            for row, mesh in zip(chosen, meshes, strict=True)
        ]
        is_video = str(rows.image[chosen[0]]) in pictures.videos
        found = masks.choose(shot.image, rows, chosen, drawn, is_video=is_video)
        for row, mesh, mask in zip(chosen, meshes, found, strict=True):
            if isinstance(mask, HandkitError):
                continue
            is_right = bool(rows.is_right[row])
            model, uv = hands.model(is_right), hand_uv(hands.model(is_right)).face_uvs
            if is_right not in texels:
                texels[is_right] = texels_of(uv, SIZE)
            seen = unproject(
                shot.image, mesh, model.faces, rows.K[row], uv, size=SIZE, mask=mask, texels=texels[is_right]
            )
            key = (str(rows.image[row]), int(rows.track_id[row]), is_right)
            averages.setdefault(key, TextureAverage(SIZE, share=share)).add(seen)
            members.setdefault(key, []).append(row)
    for key, average in averages.items():
        _write(folder, key, average, rows.rows(np.array(members[key])), hands, texels[key[2]])
    return len(averages)


def _write(
    folder: Path,
    key: tuple[str, int, bool],
    average: TextureAverage,
    rows: Predictions,
    hands: HandPair,
    texels: Texels,
) -> None:
    """The hand at its mean shape: with its last frame's mesh as .obj, and at rest as a rig."""
    name, track, is_right = key
    place = folder / TEXTURES / f"{Path(name).stem}_{track}_{'right' if is_right else 'left'}"
    model = hands.model(is_right)
    uv = hand_uv(model)
    texture = fill_texture(average.texture, average.weight, model.faces, uv.face_uvs, uv.face_charts, texels=texels)
    (mesh,) = hands.vertices(rows, [len(rows) - 1])
    write_textured_obj(place / "texture.obj", mesh, model.faces, uv.face_uvs, texture)
    offsets = np.zeros((len(rows), 778, 3)) if rows.vertex_offsets is None else rows.vertex_offsets
    rest = offsets_to_rest(model, offsets, global_orient=rows.global_orient, hand_pose=rows.hand_pose)
    write_rig_glb(place / "rig.glb", model, texture, betas=rows.betas.mean(0), rest_offsets=rest)
