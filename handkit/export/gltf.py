"""A small writer of binary glTF 2.0 files.

Convention: what hangs under the root node is in the camera frame (metres, x right, y down, z forward); the root turns
it into glTF's own (y up, looking along -z).
"""

import io
import json
import os
import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from handkit.files import atomic_path

FLOAT, UINT8, UINT16 = 5126, 5121, 5123
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963
_COMPONENTS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
# Linear with mipmaps, the border repeated.
_CLAMPED_LINEAR = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
# A half turn about x as a quaternion (x, y, z, w).
_GLTF_FROM_CAMERA = [1.0, 0.0, 0.0, 0.0]


class GltfFile:
    """The JSON part and the binary part of a file in the making."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {"asset": {"version": "2.0", "generator": "handkit"}}
        self.binary = bytearray()
        self.children_of_root: list[int] = []
        self.scene_nodes: list[int] = []

    def add(self, kind: str, item: dict[str, Any]) -> int:
        items = self.content.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def add_accessor(
        self, values: np.ndarray, component: int, *, target: int | None = None, bounds: bool = False
    ) -> int:
        """Store [N, C] values; `bounds` says their range, which glTF asks for of positions and times."""
        dtype = {FLOAT: "<f4", UINT8: "u1", UINT16: "<u2"}[component]
        array = np.ascontiguousarray(values, dtype)
        self.binary += b"\0" * (-len(self.binary) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes}
        if target is not None:
            view["target"] = target
        self.binary += array.tobytes()
        accessor: dict[str, Any] = {
            "bufferView": self.add("bufferViews", view),
            "componentType": component,
            "count": len(array),
            "type": _COMPONENTS[array.shape[1]],
        }
        if bounds:
            accessor |= {"min": to_floats(array.min(0)), "max": to_floats(array.max(0))}
        return self.add("accessors", accessor)

    def add_plain_material(self, name: str, color: tuple[int, int, int]) -> int:
        """A skin-like surface of one colour."""
        linear = (np.asarray(color, np.float64) / 255) ** 2.2
        return self._add_material(name, {"baseColorFactor": [*to_floats(linear), 1.0]})

    def add_textured_material(self, name: str, png: bytes) -> int:
        """A skin-like surface coloured by the image of a PNG file, which is stored inside."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = self.add("bufferViews", {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(png)})
        self.binary += png
        image = self.add("images", {"name": name, "mimeType": "image/png", "bufferView": view})
        sampler = self.add("samplers", _CLAMPED_LINEAR)
        texture = self.add("textures", {"source": image, "sampler": sampler})
        return self._add_material(name, {"baseColorTexture": {"index": texture}})

    def _add_material(self, name: str, color: dict[str, Any]) -> int:
        surface = {**color, "metallicFactor": 0.0, "roughnessFactor": 0.7}
        return self.add("materials", {"name": name, "pbrMetallicRoughness": surface, "doubleSided": True})

    def add_mesh(
        self,
        name: str,
        vertices: np.ndarray,
        faces: np.ndarray,
        material: int,
        attributes: dict[str, int],
        *,
        normals: np.ndarray | None = None,
    ) -> int:
        """Vertices [V, 3] and faces [F, 3]; without `normals` [V, 3] those of the faces are averaged."""
        normals = unit_normals(vertices, faces) if normals is None else normals
        position = self.add_accessor(vertices, FLOAT, target=ARRAY_BUFFER, bounds=True)
        normal = self.add_accessor(normals, FLOAT, target=ARRAY_BUFFER)
        corners = self.add_accessor(np.asarray(faces).reshape(-1, 1), UINT16, target=ELEMENT_BUFFER)
        primitive = {
            "attributes": {"POSITION": position, "NORMAL": normal, **attributes},
            "indices": corners,
            "material": material,
        }
        return self.add("meshes", {"name": name, "primitives": [primitive]})

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, atomically; nothing may be added afterwards."""
        root: dict[str, Any] = {"name": "camera", "rotation": _GLTF_FROM_CAMERA}
        if self.children_of_root:
            root["children"] = self.children_of_root
        self.content["scenes"] = [{"nodes": [self.add("nodes", root), *self.scene_nodes]}]
        self.content["scene"] = 0
        if self.binary:
            self.content["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.content, separators=(",", ":"), allow_nan=False).encode()
        chunks = [(b"JSON", text + b" " * (-len(text) % 4))]
        if self.binary:
            chunks.append((b"BIN\0", bytes(self.binary) + b"\0" * (-len(self.binary) % 4)))
        body = b"".join(struct.pack("<I", len(content)) + kind + content for kind, content in chunks)
        with atomic_path(path) as partial:
            partial.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def encode_png(texture: ArrayLike) -> bytes:
    """A PNG file of RGB [H, W, 3] in [0, 1]."""
    pixels = (255 * np.clip(np.asarray(texture, np.float64), 0, 1)).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png", compress_level=6)
    return content.getvalue()


def unit_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Outward vertex normals [V, 3] of unit length."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.maximum(length, 1e-30), [0.0, 0.0, 1.0])


def to_floats(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.asarray(values, np.float32)]
