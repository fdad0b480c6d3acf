"""Hands as binary glTF 2.0 (.glb): still meshes, and for a video animated, skinned hands.

Convention: vertices and joints stay in the camera frame; `gltf.py`'s root node turns it upright. Joint nodes go in
MANO's order.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from handkit.conventions import MANO_JOINT_NAMES
from handkit.errors import HandkitError
from handkit.export.gltf import ARRAY_BUFFER, FLOAT, UINT8, GltfFile, encode_png, to_floats, unit_normals
from handkit.export.predictions import Predictions
from handkit.hand.model import HandModel
from handkit.hand.uv import hand_uv, split_vertices
from handkit.render.shaded import Mesh, track_color

# A track is hidden over gaps longer than this, or than a few of its own frame steps; shorter ones are interpolated.
_HIDDEN_GAP_S, _HIDDEN_GAP_STEPS = 0.5, 3.0


@dataclass(frozen=True, eq=False)
class HandTrack:
    """One hand over time: [T] times that grow, [T, 3] global_orient, [T, 45] hand_pose (axis-angle), [T, 3] transl.

    texture: RGB [H, W, 3] in [0, 1] on the hand's UV map, in place of the colour.
    """

    hand: HandModel
    betas: np.ndarray  # [10]
    times_s: np.ndarray
    global_orient: np.ndarray
    hand_pose: np.ndarray
    transl: np.ndarray
    name: str = "hand"
    color: tuple[int, int, int] = track_color(0)
    texture: np.ndarray | None = None


class Surface(NamedTuple):
    """A texture RGB [H, W, 3] in [0, 1], and where the corners of the faces [F, 3, 2] lie on it."""

    texture: np.ndarray
    face_uvs: np.ndarray


def tracks_from_predictions(
    predictions: Predictions, hands: dict[str, HandModel], textures: Mapping[int, np.ndarray] | None = None
) -> list[HandTrack]:
    """The tracks of one video, by track_id; `hands` holds the "right" and the "left" model, `textures` is by track.

    Side and shape of a track are the majority and the median over its rows; of rows with one time the first is kept.
    """
    tracks = []
    for track_id in np.unique(predictions.track_id):
        rows = predictions.rows(predictions.track_id == track_id)
        times_s, order = np.unique(rows.time_s, return_index=True)
        side = "right" if rows.is_right.mean() >= 0.5 else "left"
        tracks.append(
            HandTrack(
                hand=hands[side],
                betas=np.median(rows.betas, axis=0),
                times_s=times_s,
                global_orient=rows.global_orient[order],
                hand_pose=rows.hand_pose[order],
                transl=rows.transl[order],
                name=f"{track_id} {side}",
                color=track_color(int(track_id)),
                texture=None if textures is None else textures[int(track_id)],
            )
        )
    return tracks


def write_glb(path: str | os.PathLike[str], meshes: Sequence[Mesh], surfaces: Sequence[Surface] | None = None) -> None:
    """Write still hands, one node each, atomically; their textures, where given, in place of their colours."""
    file = GltfFile()
    for k, mesh in enumerate(meshes):
        name = f"hand {k}"
        if surfaces is None:
            material = file.add_plain_material(name, mesh.color)
            part = file.add_mesh(name, mesh.vertices_cam, mesh.faces, material, {})
        else:
            material = file.add_textured_material(name, encode_png(surfaces[k].texture))
            part = _add_split_mesh(file, name, mesh.vertices_cam, mesh.faces, surfaces[k].face_uvs, material, {})
        file.children_of_root.append(file.add("nodes", {"name": name, "mesh": part}))
    file.write(path)


def write_animated_glb(
    path: str | os.PathLike[str], tracks: Sequence[HandTrack], *, end_s: float | None = None
) -> None:
    """Write hands that move at their true times, each a skinned mesh of 16 joints, atomically.

    Skinning only: glTF cannot express the pose correctives, so vertices differ from the layer's (for the open hand in
    natural poses by 0.4 mm on average, up to 9 mm at a bent joint). A vertex keeps its four largest weights. A track
    is invisible (wrist scaled to 0) before its first frame, after its last until `end_s`, and in gaps of more than
    half a second.
    """
    file = GltfFile()
    animation: dict[str, Any] = {"name": "hands", "channels": [], "samplers": []}
    start_s = min((float(track.times_s[0]) for track in tracks if len(track.times_s)), default=0.0)
    last_s = max((float(track.times_s[-1]) for track in tracks if len(track.times_s)), default=0.0)
    for track in tracks:
        if not len(track.times_s) or (np.diff(track.times_s) <= 0).any():
            raise HandkitError(f"the times of track {track.name!r} do not grow", "give each frame a later time")
        joints = _add_skinned_hand(file, track)
        _animate(file, animation, track, joints, span_s=(min(0.0, start_s), max(last_s, end_s or 0.0)))
    if animation["channels"]:
        file.add("animations", animation)
    file.write(path)


def _add_skinned_hand(file: GltfFile, track: HandTrack) -> list[int]:
    """Mesh, skin and joint nodes of one track at rest; gives the 16 nodes."""
    hand = track.hand
    vertices = hand.v_template + hand.shapedirs @ np.asarray(track.betas, np.float64)
    return add_skinned_hand(file, hand, vertices, hand.J_regressor @ vertices, track.name, track.color, track.texture)


def add_skinned_hand(
    file: GltfFile,
    hand: HandModel,
    vertices: np.ndarray,
    joints: np.ndarray,
    name: str,
    color: tuple[int, int, int],
    texture: np.ndarray | None,
) -> list[int]:
    """Mesh, skin and joint nodes of a hand with these vertices [778, 3] and joints [16, 3] at rest; gives the nodes.

    With a texture a vertex is there once for every chart of the UV map that it borders.
    """
    nodes, skin = add_skeleton(file, hand, joints, name)
    indices, weights = four_weights(hand.lbs_weights)
    attributes = {"JOINTS_0": (indices, UINT8), "WEIGHTS_0": (weights, FLOAT)}
    if texture is None:
        material = file.add_plain_material(name, color)
        own = {key: file.add_accessor(values, kind, target=ARRAY_BUFFER) for key, (values, kind) in attributes.items()}
        mesh = file.add_mesh(name, vertices, hand.faces, material, own)
    else:
        material = file.add_textured_material(name, encode_png(texture))
        mesh = _add_split_mesh(file, name, vertices, hand.faces, hand_uv(hand).face_uvs, material, attributes)
    # A skinned mesh ignores its own node's place, so it stays outside the turned root.
    file.scene_nodes.append(file.add("nodes", {"name": name, "mesh": mesh, "skin": skin}))
    return nodes


def _add_split_mesh(
    file: GltfFile,
    name: str,
    vertices: np.ndarray,
    faces: np.ndarray,
    face_uvs: np.ndarray,
    material: int,
    attributes: Mapping[str, tuple[np.ndarray, int]],
) -> int:
    """A mesh with texture coordinates; `attributes` of its vertices, each with its kind."""
    split = split_vertices(faces, face_uvs)
    own = {"TEXCOORD_0": file.add_accessor(split.uvs, FLOAT, target=ARRAY_BUFFER)}
    for key, (values, kind) in attributes.items():
        own[key] = file.add_accessor(values[split.vertex_ids], kind, target=ARRAY_BUFFER)
    # Normals are those of the whole surface, or its seams would show.
    normals = unit_normals(vertices, faces)[split.vertex_ids]
    return file.add_mesh(name, vertices[split.vertex_ids], split.faces, material, own, normals=normals)


def add_skeleton(file: GltfFile, hand: HandModel, joints: np.ndarray, name: str) -> tuple[list[int], int]:
    """Nodes and skin of MANO's 16 joints [16, 3] at rest, under the root."""
    parents = [int(parent) for parent in hand.parents]
    nodes = [
        file.add("nodes", {"name": f"{name} {joint}", "translation": to_floats(joints[j] - (joints[p] if j else 0.0))})
        for j, (joint, p) in enumerate(zip(MANO_JOINT_NAMES, parents, strict=True))
    ]
    for j, node in enumerate(nodes):
        children = [nodes[child] for child, parent in enumerate(parents) if child and parent == j]
        if children:
            file.content["nodes"][node]["children"] = children
    file.children_of_root.append(nodes[0])
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (16, 1, 1))
    inverse_bind[:, :3, 3] = -joints
    # glTF matrices are column-major.
    bind = file.add_accessor(inverse_bind.transpose(0, 2, 1).reshape(16, 16), FLOAT)
    return nodes, file.add("skins", {"joints": nodes, "inverseBindMatrices": bind, "skeleton": nodes[0]})


def _animate(
    file: GltfFile, animation: dict[str, Any], track: HandTrack, nodes: list[int], *, span_s: tuple[float, float]
) -> None:
    """Channels of one track: rotations of 16 joints, the wrist's place, and its scale where the hand is not there."""
    times = file.add_accessor(np.asarray(track.times_s, np.float32)[:, None], FLOAT, bounds=True)
    wrist_at_rest = np.array(file.content["nodes"][nodes[0]]["translation"])

    def channel(node: int, path: str, moments: int, values: np.ndarray, interpolation: str = "LINEAR") -> None:
        sampler = {"input": moments, "output": file.add_accessor(values, FLOAT), "interpolation": interpolation}
        animation["samplers"].append(sampler)
        target = {"node": node, "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]) - 1, "target": target})

    channel(nodes[0], "translation", times, wrist_at_rest + track.transl)
    axis_angles = np.concatenate([track.global_orient, track.hand_pose], axis=1).reshape(-1, 16, 3)
    quaternions = axis_angle_to_quaternion(axis_angles)
    for j, node in enumerate(nodes):
        channel(node, "rotation", times, quaternions[:, j])
    shown = visibility(np.asarray(track.times_s, np.float64), span_s)
    if shown:
        moments = file.add_accessor(np.array([[moment] for moment, _ in shown], np.float32), FLOAT, bounds=True)
        scales = np.array([[float(visible)] * 3 for _, visible in shown])
        channel(nodes[0], "scale", moments, scales, "STEP")


def visibility(times_s: np.ndarray, span_s: tuple[float, float]) -> list[tuple[float, bool]]:
    """When a track appears and disappears within span_s, as (time, visible) steps; empty if it is always there."""
    steps = np.diff(times_s)
    step = float(np.median(steps)) if len(steps) else 1 / 30
    longest = max(_HIDDEN_GAP_S, _HIDDEN_GAP_STEPS * step)
    changes = [(span_s[0], False)] if times_s[0] > span_s[0] else []
    changes.append((float(times_s[0]), True))
    for before, after in pairwise(times_s):
        if after - before > longest:
            changes += [(float(before) + step, False), (float(after), True)]
    if span_s[1] > times_s[-1] + step:
        changes.append((float(times_s[-1]) + step, False))
    return changes if len(changes) > 1 else []


def four_weights(lbs_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four largest weights of every vertex, summing to 1: joints [V, 4] uint8 and weights [V, 4] float32."""
    indices = np.argsort(-lbs_weights, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(lbs_weights, indices, axis=1).astype(np.float32)
    weights[weights < 1e-6] = 0
    weights /= weights.sum(1, keepdims=True)
    return np.where(weights > 0, indices, 0).astype(np.uint8), weights


def axis_angle_to_quaternion(axis_angles: np.ndarray) -> np.ndarray:
    """Quaternions (x, y, z, w) [T, N, 4] of [T, N, 3], without sign jumps from one time to the next."""
    angle = np.linalg.norm(axis_angles, axis=-1, keepdims=True)
    half_sinc = 0.5 * np.sinc(angle / (2 * np.pi))
    quaternions = np.concatenate([axis_angles * half_sinc, np.cos(angle / 2)], axis=-1)
    turns = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True))
    turns[turns == 0] = 1
    quaternions[1:] *= np.cumprod(turns, axis=0)
    return quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
