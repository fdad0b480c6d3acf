"""Textured OBJ and the personal rig, read back by other software and by the book."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from handkit.errors import HandkitError
from handkit.export.textured import write_rig_glb, write_textured_obj
from handkit.hand.layer import ManoLayer
from handkit.hand.model import load_hand
from handkit.hand.rig import offsets_to_pose
from handkit.hand.uv import hand_uv, split_vertices
from handkit.render.texture import sample_texture
from tests.export.test_glb import CAMERA_TO_GLTF, _Reader

HAND = load_hand("open")
MAP = hand_uv(HAND)
RNG = np.random.default_rng(0)
TEXTURE = np.kron(RNG.uniform(size=(16, 16, 3)), np.ones((8, 8, 1))).astype(np.float32)
BETAS, OFFSETS = RNG.normal(size=10) * 0.5, RNG.normal(size=(778, 3)) * 1e-3


def _colors_at_corners(mesh: trimesh.Trimesh, image: Image.Image) -> np.ndarray:
    """What trimesh's own v-up coordinates show at each face's corners, [F, 3, 3]."""
    pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    uvs = mesh.visual.uv[mesh.faces].reshape(-1, 2)
    return sample_texture(pixels, uvs * [1, -1] + [0, 1]).reshape(-1, 3, 3)


def _ours_at_corners() -> np.ndarray:
    return sample_texture(TEXTURE, MAP.face_uvs.reshape(-1, 2)).reshape(-1, 3, 3)


def test_obj_in_trimesh(tmp_path: Path) -> None:
    paths = write_textured_obj(tmp_path / "my hand.obj", HAND.v_template, HAND.faces, MAP.face_uvs, TEXTURE)
    assert [path.name for path in paths] == ["my hand.obj", "my_hand.mtl", "my_hand.png"]
    mesh = trimesh.load(paths[0], process=False)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], HAND.v_template[HAND.faces], atol=1e-6)
    assert len(mesh.vertices) == len(split_vertices(HAND.faces, MAP.face_uvs).vertex_ids)
    image = mesh.visual.material.image
    assert image.size == (128, 128)
    np.testing.assert_allclose(_colors_at_corners(mesh, image), _ours_at_corners(), atol=0.01)


def test_obj_needs_its_ending(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="textured mesh"):
        write_textured_obj(tmp_path / "hand.ply", HAND.v_template, HAND.faces, MAP.face_uvs, TEXTURE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", ["right", "left"])
def test_rig_in_trimesh(tmp_path: Path, side: str) -> None:
    hand = load_hand("open", side)
    write_rig_glb(tmp_path / "rig.glb", hand, TEXTURE, betas=BETAS, rest_offsets=OFFSETS)
    mesh = next(iter(trimesh.load(tmp_path / "rig.glb", process=False).geometry.values()))
    split = split_vertices(hand.faces, hand_uv(hand).face_uvs)
    np.testing.assert_array_equal(mesh.faces, split.faces)
    expected = hand.v_template + hand.shapedirs @ BETAS + OFFSETS
    np.testing.assert_allclose(mesh.vertices, expected[split.vertex_ids], atol=1e-6)
    np.testing.assert_allclose(mesh.visual.uv * [1, -1] + [0, 1], split.uvs, atol=1e-6)
    if side == "right":
        image = mesh.visual.material.baseColorTexture
        np.testing.assert_allclose(_colors_at_corners(mesh, image), _ours_at_corners(), atol=0.01)
    same_vertex = split.vertex_ids[:, None] == split.vertex_ids
    normals = _Reader(tmp_path / "rig.glb")
    primitive = normals.gltf["meshes"][0]["primitives"][0]["attributes"]
    directions = normals.accessor(primitive["NORMAL"])
    np.testing.assert_allclose((directions @ directions.T)[same_vertex], 1, atol=1e-5)


def test_posing_the_rig_gives_the_offset_mesh(tmp_path: Path) -> None:
    """The file's nodes turned as a viewer would, against the layer's hand plus the offsets carried to that pose."""
    write_rig_glb(tmp_path / "rig.glb", HAND, TEXTURE, betas=BETAS, rest_offsets=OFFSETS)
    reader = _Reader(tmp_path / "rig.glb")
    rng = np.random.default_rng(3)
    orient, pose = rng.normal(size=(1, 3)), rng.normal(size=(1, 45)) * 0.4
    turns = Rotation.from_rotvec(np.concatenate([orient, pose], axis=1).reshape(16, 3)).as_quat()
    for node, turn in zip(reader.gltf["skins"][0]["joints"], turns, strict=True):
        reader.nodes[node]["rotation"] = turn.tolist()
    layer = ManoLayer(replace(HAND, posedirs=np.zeros_like(HAND.posedirs)))
    out = layer(global_orient=torch.tensor(orient), hand_pose=torch.tensor(pose), betas=torch.from_numpy(BETAS)[None])
    expected = out.vertices[0].numpy() + offsets_to_pose(HAND, OFFSETS, global_orient=orient, hand_pose=pose)[0]
    ids = split_vertices(HAND.faces, MAP.face_uvs).vertex_ids
    np.testing.assert_allclose(reader.skinned("hand", 0.0)[0], expected[ids] @ CAMERA_TO_GLTF, atol=2e-6)


def test_rig_holds_its_png(tmp_path: Path) -> None:
    write_rig_glb(tmp_path / "rig.glb", HAND, TEXTURE)
    reader = _Reader(tmp_path / "rig.glb")
    view = reader.gltf["bufferViews"][reader.gltf["images"][0]["bufferView"]]
    png = reader.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    np.testing.assert_allclose(pixels / 255.0, TEXTURE, atol=0.5 / 255 + 1e-6)
