"""A textured hand: OBJ with its material and image, and the personal rig, a skinned and textured .glb.

Convention: textures are RGB [H, W, 3] in [0, 1], v down as in glTF; OBJ's v goes up and is turned over on writing.
"""

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from handkit.errors import HandkitError
from handkit.export.glb import add_skinned_hand
from handkit.export.gltf import GltfFile, encode_png
from handkit.files import atomic_path
from handkit.hand.model import HandModel


def write_textured_obj(
    path: str | os.PathLike[str], vertices: ArrayLike, faces: ArrayLike, face_uvs: ArrayLike, texture: ArrayLike
) -> list[Path]:
    """Write vertices [V, 3] in metres with their texture as .obj, .mtl and .png of one name; gives the three paths.

    Each file is written atomically, the .obj last; names of .mtl and .png are as `write_material` has them.
    """
    path = Path(path)
    if path.suffix.lower() != ".obj":
        raise HandkitError(f"cannot write a textured mesh as {path}", "use a name ending in .obj")
    material, picture = write_material(path.with_suffix(".mtl"), texture)
    write_obj_of_material(path, vertices, faces, face_uvs, material)
    return [path, material, picture]


def write_material(path: Path, texture: ArrayLike) -> tuple[Path, Path]:
    """Write a .mtl and the .png of its name, for any number of meshes beside them; gives both paths.

    White space in the names becomes "_", which not every reader of OBJ would take otherwise.
    """
    path = path.with_name(re.sub(r"\s", "_", path.name))
    picture = path.with_suffix(".png")
    surface = f"newmtl hand\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
    for target, content in ((picture, encode_png(texture)), (path, surface.encode())):
        with atomic_path(target) as partial:
            partial.write_bytes(content)
    return path, picture


def write_obj_of_material(
    path: Path, vertices: ArrayLike, faces: ArrayLike, face_uvs: ArrayLike, material: Path
) -> None:
    """Write vertices [V, 3] in metres as .obj beside a material that `write_material` wrote, atomically."""
    triangles = np.asarray(faces)
    corners, numbers = np.unique(np.asarray(face_uvs, np.float64).reshape(-1, 2), axis=0, return_inverse=True)
    lines = ["# metres, camera frame: x right, y down, z forward", f"mtllib {material.name}", "usemtl hand"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in np.asarray(vertices, np.float64).tolist()]
    lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in corners.tolist()]
    places = np.stack([triangles + 1, numbers.reshape(-1, 3) + 1], axis=2).reshape(-1, 6).tolist()
    lines += ["f {}/{} {}/{} {}/{}".format(*place) for place in places]
    with atomic_path(path) as partial:
        partial.write_text("\n".join(lines) + "\n")


def write_rig_glb(
    path: str | os.PathLike[str],
    hand: HandModel,
    texture: ArrayLike,
    *,
    betas: ArrayLike | None = None,
    rest_offsets: ArrayLike | None = None,
    name: str = "hand",
) -> None:
    """Write the personal hand at rest, skinned to MANO's 16 joints, with its texture inside, atomically.

    betas [10]; `rest_offsets` [778, 3] in metres move the vertices and leave the joints where the shape has them. A
    vertex keeps its four largest weights, and is there once for every chart of the UV map that it borders.
    """
    shaped = hand.v_template + (0 if betas is None else hand.shapedirs @ np.asarray(betas, np.float64))
    vertices = shaped + (0 if rest_offsets is None else np.asarray(rest_offsets, np.float64))
    file = GltfFile()
    add_skinned_hand(file, hand, vertices, hand.J_regressor @ shaped, name, (0, 0, 0), np.asarray(texture))
    file.write(path)
