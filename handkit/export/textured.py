"""A textured hand: OBJ with its material and image, and the personal rig, a skinned and textured .glb.

Convention: textures are RGB [H, W, 3] in [0, 1], v down as in glTF; OBJ's v goes up and is turned over on writing.
"""

import io
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from handkit.errors import HandkitError
from handkit.export.glb import add_skeleton, four_weights
from handkit.export.gltf import ARRAY_BUFFER, FLOAT, UINT8, GltfFile, unit_normals
from handkit.files import atomic_path
from handkit.hand.model import HandModel
from handkit.hand.uv import hand_uv, split_vertices


def write_textured_obj(
    path: str | os.PathLike[str], vertices: ArrayLike, faces: ArrayLike, face_uvs: ArrayLike, texture: ArrayLike
) -> list[Path]:
    """Write vertices [V, 3] in metres with their texture as .obj, .mtl and .png of one name; gives the three paths.

    Each file is written atomically, the .obj last. White space in the names of .mtl and .png becomes "_", which not
    every reader of OBJ would take otherwise.
    """
    path = Path(path)
    if path.suffix.lower() != ".obj":
        raise HandkitError(f"cannot write a textured mesh as {path}", "use a name ending in .obj")
    material = path.with_name(re.sub(r"\s", "_", path.stem) + ".mtl")
    picture = material.with_suffix(".png")
    triangles = np.asarray(faces)
    corners, numbers = np.unique(np.asarray(face_uvs, np.float64).reshape(-1, 2), axis=0, return_inverse=True)
    lines = ["# metres, camera frame: x right, y down, z forward", f"mtllib {material.name}", "usemtl hand"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in np.asarray(vertices, np.float64).tolist()]
    lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in corners.tolist()]
    places = np.stack([triangles + 1, numbers.reshape(-1, 3) + 1], axis=2).reshape(-1, 6).tolist()
    lines += ["f {}/{} {}/{} {}/{}".format(*place) for place in places]
    surface = f"newmtl hand\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
    for target, content in ((picture, _png(texture)), (material, surface.encode())):
        with atomic_path(target) as partial:
            partial.write_bytes(content)
    with atomic_path(path) as partial:
        partial.write_text("\n".join(lines) + "\n")
    return [path, material, picture]


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
    split = split_vertices(hand.faces, hand_uv(hand).face_uvs)
    file = GltfFile()
    _, skin = add_skeleton(file, hand, hand.J_regressor @ shaped, name)
    indices, weights = four_weights(hand.lbs_weights)
    attributes = {
        "TEXCOORD_0": file.add_accessor(split.uvs, FLOAT, target=ARRAY_BUFFER),
        "JOINTS_0": file.add_accessor(indices[split.vertex_ids], UINT8, target=ARRAY_BUFFER),
        "WEIGHTS_0": file.add_accessor(weights[split.vertex_ids], FLOAT, target=ARRAY_BUFFER),
    }
    # Normals are those of the whole surface, or its seams would show.
    normals = unit_normals(vertices, hand.faces)[split.vertex_ids]
    material = file.add_textured_material(name, _png(texture))
    mesh = file.add_mesh(name, vertices[split.vertex_ids], split.faces, material, attributes, normals=normals)
    # A skinned mesh ignores its own node's place, so it stays outside the turned root.
    file.scene_nodes.append(file.add("nodes", {"name": name, "mesh": mesh, "skin": skin}))
    file.write(path)


def _png(texture: ArrayLike) -> bytes:
    pixels = (255 * np.clip(np.asarray(texture, np.float64), 0, 1)).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png", compress_level=6)
    return content.getvalue()
