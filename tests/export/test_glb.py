"""GLB files: the file's own numbers, evaluated as glTF says, must give the posed hand."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from handkit.conventions import OURS_FROM_MANO_AND_TIPS
from handkit.errors import HandkitError
from handkit.export.glb import (
    HandTrack,
    axis_angle_to_quaternion,
    four_weights,
    visibility,
    write_animated_glb,
    write_glb,
)
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel, load_hand
from handkit.render.shaded import Mesh

CAMERA_TO_GLTF = np.diag([1.0, -1.0, -1.0])


class _Reader:
    """glTF 2.0 evaluated by the book: accessors, node tree, animation samplers, skinning."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, length = struct.unpack("<4sII", content[:12])
        assert (magic, version, length) == (b"glTF", 2, len(content))
        size, kind = struct.unpack("<I4s", content[12:20])
        assert kind == b"JSON"
        self.gltf: dict[str, Any] = json.loads(content[20 : 20 + size])
        self.binary = content[20 + size + 8 :]
        self.nodes = self.gltf["nodes"]

    def accessor(self, index: int) -> np.ndarray:
        accessor = self.gltf["accessors"][index]
        view = self.gltf["bufferViews"][accessor["bufferView"]]
        dtype = {5126: "<f4", 5121: "u1", 5123: "<u2"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        values = np.frombuffer(self.binary, dtype, accessor["count"] * width, view["byteOffset"])
        return values.reshape(-1, width)

    def node_state(self, node: int, time_s: float) -> dict[str, np.ndarray]:
        state = {"translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]}
        state = {key: np.array(self.nodes[node].get(key, value), float) for key, value in state.items()}
        for animation in self.gltf.get("animations", []):
            for channel in animation["channels"]:
                if channel["target"]["node"] == node:
                    sampler = animation["samplers"][channel["sampler"]]
                    times = self.accessor(sampler["input"])[:, 0]
                    # Asked at key frames only, so that no interpolation is needed.
                    key = max(0, int(np.searchsorted(times, time_s + 1e-4)) - 1)
                    state[channel["target"]["path"]] = self.accessor(sampler["output"])[key].astype(float)
        return state

    def globals(self, time_s: float) -> dict[int, np.ndarray]:
        matrices: dict[int, np.ndarray] = {}

        def visit(node: int, parent: np.ndarray) -> None:
            state = self.node_state(node, time_s)
            local = np.eye(4)
            local[:3, :3] = Rotation.from_quat(state["rotation"]).as_matrix() * state["scale"]
            local[:3, 3] = state["translation"]
            matrices[node] = parent @ local
            for child in self.nodes[node].get("children", []):
                visit(child, matrices[node])

        for node in self.gltf["scenes"][self.gltf["scene"]]["nodes"]:
            visit(node, np.eye(4))
        return matrices

    def skinned(self, name: str, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [V, 3] and joints [16, 3] of a hand in the glTF frame."""
        node = next(node for node in self.nodes if node.get("name") == name and "skin" in node)
        skin, (primitive,) = self.gltf["skins"][node["skin"]], self.gltf["meshes"][node["mesh"]]["primitives"]
        matrices = self.globals(time_s)
        bind = self.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        palette = np.stack([matrices[joint] for joint in skin["joints"]]) @ bind
        attributes = {key: self.accessor(index) for key, index in primitive["attributes"].items()}
        blended = np.einsum("vk,vkab->vab", attributes["WEIGHTS_0"], palette[attributes["JOINTS_0"]])
        points = np.concatenate([attributes["POSITION"], np.ones((len(blended), 1))], axis=1)
        joints = np.stack([matrices[joint][:3, 3] for joint in skin["joints"]])
        return np.einsum("vab,vb->va", blended, points)[:, :3], joints


def _track(hand: HandModel, times_s: np.ndarray, name: str, seed: int = 0) -> HandTrack:
    rng = np.random.default_rng(seed)
    count = len(times_s)
    return HandTrack(
        hand=hand,
        betas=rng.normal(size=10) * 0.5,
        times_s=times_s,
        global_orient=rng.normal(size=(count, 3)),
        hand_pose=rng.normal(size=(count, 45)) * 0.4,
        transl=rng.normal(size=(count, 3)) * 0.1 + [0, 0, 0.6],
        name=name,
    )


def _posed(track: HandTrack, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and MANO's 16 joints of the layer without pose correctives, in the glTF frame."""
    layer = ManoLayer(replace(track.hand, posedirs=np.zeros_like(track.hand.posedirs)))
    values = {"hand_pose": track.hand_pose, "global_orient": track.global_orient, "transl": track.transl}
    out = layer(betas=torch.from_numpy(track.betas), **{key: torch.from_numpy(v[row]) for key, v in values.items()})
    mano_joints = np.zeros((16, 3))
    for ours, mano in enumerate(OURS_FROM_MANO_AND_TIPS):
        if mano < 16:
            mano_joints[mano] = out.joints[ours]
    return out.vertices.numpy() @ CAMERA_TO_GLTF, mano_joints @ CAMERA_TO_GLTF


@pytest.fixture(scope="module")
def tracks() -> list[HandTrack]:
    times = np.array([0.0, 0.04, 0.1, 0.2, 0.21])
    late = np.array([0.5, 0.54, 0.6, 2.0, 2.04])
    return [_track(load_hand("open"), times, "0 right"), _track(load_hand("open", "left"), late, "1 left", 1)]


def test_skinning_from_the_file_is_the_layer_s(tmp_path: Path, tracks: list[HandTrack]) -> None:
    write_animated_glb(tmp_path / "hands.glb", tracks)
    reader = _Reader(tmp_path / "hands.glb")
    for track in tracks:
        for row in (0, 2, 4):
            vertices, joints = reader.skinned(track.name, float(track.times_s[row]))
            wanted_vertices, wanted_joints = _posed(track, row)
            np.testing.assert_allclose(joints, wanted_joints, atol=2e-6)
            np.testing.assert_allclose(vertices, wanted_vertices, atol=5e-6)
            assert (vertices[:, 2] < 0).all(), "in front of a glTF camera, which looks along -z"


def test_absent_hands_have_no_size(tmp_path: Path, tracks: list[HandTrack]) -> None:
    write_animated_glb(tmp_path / "hands.glb", tracks, end_s=3.0)
    reader = _Reader(tmp_path / "hands.glb")
    seen = {
        name: [t for t in (0.0, 0.2, 0.52, 1.5, 2.0, 2.9) if np.ptp(reader.skinned(name, t)[0], axis=0).max() > 1e-3]
        for name in ("0 right", "1 left")
    }
    assert seen == {"0 right": [0.0, 0.2], "1 left": [0.52, 2.0]}


def test_visibility_steps() -> None:
    times = np.arange(10) / 10
    assert visibility(times, (0.0, 0.9)) == []
    assert visibility(times + 1, (0.0, 1.9)) == [(0.0, False), (1.0, True)]
    steps = visibility(np.array([0.0, 0.1, 0.2, 0.5, 1.4]), (0.0, 1.4))
    assert [visible for _, visible in steps] == [True, False, True], "a gap of 0.3 s is bridged, one of 0.9 s is not"
    slow = np.arange(5.0)
    assert visibility(slow, (0.0, 4.0)) == [], "a frame a second is no gap"


def test_file_structure(tmp_path: Path, tracks: list[HandTrack]) -> None:
    write_animated_glb(tmp_path / "hands.glb", tracks)
    gltf = _Reader(tmp_path / "hands.glb").gltf
    assert [len(skin["joints"]) for skin in gltf["skins"]] == [16, 16]
    assert len(gltf["animations"]) == 1
    for view in gltf["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
    for sampler in gltf["animations"][0]["samplers"]:
        counts = {gltf["accessors"][sampler[end]]["count"] for end in ("input", "output")}
        assert len(counts) == 1
    scene = trimesh.load(tmp_path / "hands.glb")
    assert sorted(len(mesh.faces) for mesh in scene.geometry.values()) == [1538, 1538]


def test_one_frame_and_no_tracks(tmp_path: Path) -> None:
    track = _track(load_hand("open"), np.array([0.0]), "0 right")
    write_animated_glb(tmp_path / "one.glb", [track])
    np.testing.assert_allclose(_Reader(tmp_path / "one.glb").skinned("0 right", 0.0)[1], _posed(track, 0)[1], atol=2e-6)
    write_animated_glb(tmp_path / "none.glb", [])
    assert "meshes" not in _Reader(tmp_path / "none.glb").gltf


def test_times_must_grow(tmp_path: Path) -> None:
    for times in (np.array([0.0, 0.0]), np.array([])):
        with pytest.raises(HandkitError, match="do not grow"):
            write_animated_glb(tmp_path / "a.glb", [_track(load_hand("open"), times, "x")])
    assert list(tmp_path.iterdir()) == []


def test_four_weights_of_a_file_with_more() -> None:
    weights = np.random.default_rng(0).uniform(size=(50, 16)) ** 4
    weights[0] = np.eye(16)[7]
    weights /= weights.sum(1, keepdims=True)
    indices, kept = four_weights(weights)
    np.testing.assert_allclose(kept.sum(1), 1, atol=1e-6)
    assert indices[0].tolist() == [7, 0, 0, 0]
    assert kept[0].tolist() == [1, 0, 0, 0]
    for row in range(1, 50):
        assert set(indices[row]) == set(np.argsort(weights[row])[-4:])


def test_quaternions() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4, 3)) * 2
    vectors[2, 1] = 0
    ours, theirs = axis_angle_to_quaternion(vectors), Rotation.from_rotvec(vectors.reshape(-1, 3)).as_quat()
    np.testing.assert_allclose(np.abs((ours.reshape(-1, 4) * theirs).sum(-1)), 1, atol=1e-12)
    # Past half a turn the vector flips its sign, the motion goes on.
    spin = np.linspace(0, 4 * np.pi, 60)[:, None, None] * [0, 0, 1.0]
    wrapped = Rotation.from_rotvec(spin[:, 0]).as_rotvec()[:, None]
    assert ((q := axis_angle_to_quaternion(wrapped))[1:] * q[:-1]).sum(-1).min() > 0.9


def test_still_meshes(tmp_path: Path) -> None:
    hand = load_hand("open")
    both = [hand.v_template + np.array(offset) for offset in ((0.1, 0.2, 0.6), (0.4, 0.2, 0.6))]
    write_glb(tmp_path / "still.glb", [Mesh(vertices, hand.faces) for vertices in both])
    scene = trimesh.load(tmp_path / "still.glb")
    points = np.concatenate(both) @ CAMERA_TO_GLTF
    np.testing.assert_allclose(scene.bounds, [points.min(0), points.max(0)], atol=1e-6)
    assert len(scene.geometry) == 2
