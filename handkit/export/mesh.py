"""One hand as a mesh file: OBJ (text) or PLY (binary).

Convention: coordinates are written as they are: metres in the camera frame (x right, y down, z forward), so that K
projects the file's vertices onto the image. Colours are RGB in [0, 1].
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from handkit.errors import HandkitError
from handkit.files import atomic_path


def write_mesh(
    path: str | os.PathLike[str], vertices: ArrayLike, faces: ArrayLike, *, vertex_colors: ArrayLike | None = None
) -> None:
    """Write vertices [V, 3] and faces [F, 3] (from 0) under the format the name ends in, .obj or .ply, atomically."""
    encoders = {".obj": _obj, ".ply": _ply}
    suffix = Path(path).suffix.lower()
    if suffix not in encoders:
        raise HandkitError(f"cannot write a mesh as {path}", "use a name ending in .obj or .ply")
    corners = np.asarray(vertices, np.float64)
    colors = None if vertex_colors is None else np.clip(np.asarray(vertex_colors, np.float64), 0, 1)
    content = encoders[suffix](corners, np.asarray(faces), colors)
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def _obj(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None) -> bytes:
    rows = vertices if colors is None else np.concatenate([vertices, colors], axis=1)
    form = "v %.6f %.6f %.6f" if colors is None else "v %.6f %.6f %.6f %.4f %.4f %.4f"
    lines = ["# metres, camera frame: x right, y down, z forward"]
    lines += [form % tuple(row) for row in rows.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def _ply(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None) -> bytes:
    layout = [(axis, "<f4") for axis in "xyz"]
    header = ["ply", "format binary_little_endian 1.0", "comment metres, camera frame: x right, y down, z forward"]
    header += [f"element vertex {len(vertices)}", *(f"property float {axis}" for axis in "xyz")]
    if colors is not None:
        layout += [(channel, "u1") for channel in ("red", "green", "blue")]
        header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    points = np.zeros(len(vertices), layout)
    for k, axis in enumerate("xyz"):
        points[axis] = vertices[:, k]
    if colors is not None:
        for k, channel in enumerate(("red", "green", "blue")):
            points[channel] = np.rint(colors[:, k] * 255)
    triangles = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", (3,))])
    triangles["count"], triangles["corners"] = 3, faces
    return ("\n".join(header) + "\n").encode() + points.tobytes() + triangles.tobytes()
