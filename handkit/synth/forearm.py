"""A forearm behind a hand: bare skin that goes on from the wrist's rim, or a sleeve over it.

Convention: in the hand's rest frame the forearm goes on along +x of a right hand (-x of a left one), y is its
thickness and z its width; it is bent at the wrist by flexion about z and deviation about y.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from handkit.hand.model import HandModel
from handkit.labels import FOREARM
from handkit.synth.extras import ExtraMesh, fan_faces, palm_motion, strip_faces, wrist_ring
from handkit.synth.skin_surface import smoothstep

ForearmKind = Literal["bare", "sleeve"]

# Long enough to leave the picture where it lies along it; what is past the elbow only has to be there.
LENGTH_M: Final = 0.36
# Distances of the rings from the rim, metres: close where the wrist bends.
_STATIONS: Final = np.concatenate([np.linspace(0, 0.06, 9), np.linspace(0.075, LENGTH_M, 13)])
# The wrist bends over this length.
_BEND_M: Final = 0.045
_MAX_FLEXION: Final = np.radians(28.0)
_MAX_DEVIATION: Final = np.radians(12.0)
_BENDS: Final = 3


class _Line(NamedTuple):
    """The forearm's middle line in each frame."""

    centres: np.ndarray  # [T, R, 3]
    frames: np.ndarray  # [T, R, 3, 3] columns: along, thickness, width


class _Rim(NamedTuple):
    vertices: np.ndarray  # [T, S, 3]
    offsets: np.ndarray  # [S, 3] from its centre in the rest frame's axes, mean over the frames


def sample_forearm(
    rng: np.random.Generator,
    vertices: Float[np.ndarray, "T V 3"],
    hand: HandModel,
    *,
    kind: ForearmKind,
    skin_colors: Float[np.ndarray, "N 3"],
) -> ExtraMesh:
    """A forearm for every frame of a hand; look and bulk are constant, the bend at the wrist drifts from start to end.

    skin_colors [N >= 778, 3] are the hand's: the forearm's begin with those of the rim.
    """
    rotation, _ = palm_motion(vertices, hand)
    ring = wrist_ring(hand)
    rim_vertices = vertices[:, ring].astype(np.float64)
    centres = rim_vertices.mean(1)
    offsets = np.einsum("tsi,tij->sj", rim_vertices - centres[:, None], rotation) / len(vertices)
    rim = _Rim(rim_vertices, offsets)
    outward = 1.0 if hand.side == "right" else -1.0
    bends = [_bend(rng, len(vertices)) for _ in range(_BENDS)]
    lines = [_middle_line(bend, rotation, centres, outward=outward) for bend in bends]
    # of some bends the one least towards the camera: arms rarely stand before the hand that one looks at
    line = max(lines, key=lambda line: float((line.centres[:, -1] - line.centres[:, 0])[:, 2].min()))
    skin, skin_color = _skin(rng, rim, line, np.asarray(skin_colors, np.float64)[ring])
    around = len(ring)
    parts, colors = [skin], [skin_color]
    faces = [strip_faces(len(_STATIONS), around)]
    end = np.arange((len(_STATIONS) - 1) * around, len(_STATIONS) * around)
    faces.append(fan_faces(end, skin.shape[1] - 1))
    if kind == "sleeve":
        cloth, cloth_faces, cloth_color = _sleeve(rng, rim, line)
        faces.append(cloth_faces + skin.shape[1])
        parts.append(cloth)
        colors.append(cloth_color)
    return ExtraMesh(
        np.concatenate(parts, axis=1).astype(np.float32),
        np.concatenate(faces),
        np.clip(np.concatenate(colors), 0, 1).astype(np.float32),
        FOREARM,
        np.stack([np.arange(around), ring], axis=1),
    )


def _bend(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Flexion and deviation [T, 2] rad from one random bend to one near it."""
    spread = np.array([_MAX_FLEXION, _MAX_DEVIATION])
    start = np.clip(rng.normal(0, 0.45, 2), -1, 1) * spread
    end = np.clip(start + rng.normal(0, 0.3, 2) * spread, -spread, spread)
    share = smoothstep(0.0, 1.0, np.linspace(0, 1, frames))[:, None]
    return start + share * (end - start)


def _middle_line(bend: np.ndarray, rotation: np.ndarray, centres: np.ndarray, *, outward: float) -> _Line:
    share = smoothstep(0.0, _BEND_M, _STATIONS)[None, :]
    flexion, deviation = share * bend[:, :1], share * bend[:, 1:]
    zero = np.zeros_like(flexion)
    along = np.stack(
        [outward * np.cos(flexion) * np.cos(deviation), np.sin(flexion) * np.cos(deviation), np.sin(deviation)], -1
    )
    thickness = np.stack([-outward * np.sin(flexion), np.cos(flexion), zero], -1)
    width = np.cross(along, thickness) * outward
    frames = np.einsum("tij,trjk->trik", rotation, np.stack([along * outward, thickness, width], -1))
    directions = np.einsum("tij,trj->tri", rotation, along)
    steps = np.diff(_STATIONS)[None, :, None] * (directions[:, 1:] + directions[:, :-1]) / 2
    offsets = np.concatenate([np.zeros_like(steps[:, :1]), np.cumsum(steps, axis=1)], axis=1)
    return _Line(centres[:, None] + offsets, frames)


def _skin(rng: np.random.Generator, rim: _Rim, line: _Line, rim_colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [T, R * S + 1, 3], the last one closing the far end, and colours."""
    profile = _profile(rng)
    sections = rim.offsets[None] * profile[:, None]
    points = line.centres[:, :, None] + np.einsum("trij,rsj->trsi", line.frames, sections)
    # the rim itself as it is in each frame, and what differs from the mean one fading away behind it
    difference = rim.vertices - points[:, 0]
    points += smoothstep(0.02, 0.0, _STATIONS)[None, :, None, None] * difference[:, None]
    points[:, 0] = rim.vertices
    tip = points[:, -1].mean(1) + 0.03 * line.frames[:, -1, :, 0] * np.sign(
        ((line.centres[:, -1] - line.centres[:, -2]) * line.frames[:, -1, :, 0]).sum(-1, keepdims=True)
    )
    frames, rings, around = points.shape[:3]
    flat = np.concatenate([points.reshape(frames, rings * around, 3), tip[:, None]], axis=1)
    return flat, _skin_colors(rng, rim, rim_colors)


def _profile(rng: np.random.Generator) -> np.ndarray:
    """Growth [R, 3] of the rim's offsets: none along, then thickness and width, swelling towards the elbow."""
    bulk = rng.uniform(0.8, 1.25)
    swell = smoothstep(0.0, 0.25, _STATIONS)
    waist = 0.03 * np.exp(-(((_STATIONS - 0.02) / 0.015) ** 2))
    thickness = 1 - waist + 0.62 * bulk * swell
    width = 1 - waist + 0.42 * bulk * swell
    return np.stack([smoothstep(0.04, 0.0, _STATIONS), thickness, width], axis=1)


def _skin_colors(rng: np.random.Generator, rim: _Rim, rim_colors: np.ndarray) -> np.ndarray:
    """The rim's colours, evening out and mottled towards the elbow [R * S + 1, 3]."""
    even = np.stack([np.roll(rim_colors, k, axis=0) for k in range(-3, 4)]).mean(0)
    share = smoothstep(0.0, 0.06, _STATIONS)[:, None, None]
    colors = rim_colors + share * (even - rim_colors)
    angle = np.arctan2(rim.offsets[:, 1], rim.offsets[:, 2])
    phases, waves = rng.uniform(0, 2 * np.pi, 6), rng.uniform(8, 45, 6)
    mottle = sum(
        np.cos(waves[k] * _STATIONS[:, None] + (k % 3 + 1) * angle[None] + phases[k]) for k in range(6)
    ) / np.sqrt(3.0)
    tinted = colors * (1 + 0.022 * (share[..., 0] * mottle)[..., None] * np.array([0.6, 1.0, 1.0]))
    flat = tinted.reshape(-1, 3)
    return np.concatenate([flat, flat[-len(rim_colors) :].mean(0, keepdims=True)])


def _sleeve(rng: np.random.Generator, rim: _Rim, line: _Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cloth around the forearm from its cuff on: points [T, N, 3], faces, colours."""
    gap, slack = rng.uniform(0.012, 0.07), rng.uniform(0.003, 0.012)
    flare, cuff = rng.uniform(0.0, 0.012), rng.uniform(0.015, 0.05)
    inside = gap + np.array([0.02, 0.008])
    outside = np.concatenate([gap + np.array([-0.0008, 0.0005, 0.003]), np.linspace(gap + 0.01, LENGTH_M + 0.02, 26)])
    stations = np.concatenate([inside, outside])
    bulk = 0.75 * smoothstep(0.0, 0.25, stations)
    offsets = _doubled(rim.offsets[:, 1:])
    radial = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    angle = np.arctan2(offsets[:, 0], offsets[:, 1])
    phase = rng.uniform(0, 2 * np.pi, 3)
    folds = (
        0.0022
        * sum(np.cos((k + 1) * angle[None] + (40 + 35 * k) * stations[:, None] + phase[k]) for k in range(3))
        * smoothstep(gap + 0.3 * cuff, gap + cuff + 0.04, stations)[:, None]
    )
    thick = np.where(np.arange(len(stations)) < 3, 0.0, 0.0018)
    ease = slack + flare * smoothstep(gap + 0.06, gap, stations) + thick
    section = offsets[None] * (1 + bulk)[:, None, None] + radial[None] * (ease[:, None] + folds)[..., None]
    centres, frames = _along(line, stations)
    points = centres[:, :, None] + np.einsum("trij,rsj->trsi", frames[..., 1:], section)
    count, around = len(stations), len(offsets)
    colors = _cloth_colors(rng, stations - gap, angle, cuff=cuff)
    colors[:2] *= 0.45
    colors[2] *= 0.8
    flat = points.reshape(len(points), count * around, 3)
    return flat, strip_faces(count, around), colors.reshape(-1, 3)


def _along(line: _Line, stations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres and frames of the line at other distances from the rim, straight beyond its ends."""
    index = np.clip(np.searchsorted(_STATIONS, stations) - 1, 0, len(_STATIONS) - 2)
    share = ((stations - _STATIONS[index]) / (_STATIONS[index + 1] - _STATIONS[index]))[None, :, None]
    centres = line.centres[:, index] + share * (line.centres[:, index + 1] - line.centres[:, index])
    turned = np.clip(share, 0, 1)[..., None]
    frames = line.frames[:, index] + turned * (line.frames[:, index + 1] - line.frames[:, index])
    return centres, frames / np.linalg.norm(frames, axis=2, keepdims=True)


def _doubled(loop: np.ndarray) -> np.ndarray:
    """A closed loop with smooth points between its own."""
    ahead, behind = np.roll(loop, -1, axis=0), np.roll(loop, 1, axis=0)
    middle = (9 * (loop + ahead) - behind - np.roll(loop, -2, axis=0)) / 16
    return np.stack([loop, middle], axis=1).reshape(-1, loop.shape[1])


def _cloth_colors(rng: np.random.Generator, along: np.ndarray, angle: np.ndarray, *, cuff: float) -> np.ndarray:
    """Colours [R, S, 3]: one cloth, a cuff of another shade, at times stripes along or around."""
    value, chroma = rng.uniform(0.08, 0.85), rng.uniform(0.0, 0.35)
    hue = rng.uniform(0, 2 * np.pi) + np.array([0.0, 2.1, 4.2])
    cloth = np.clip(value * (1 + chroma * np.cos(hue)), 0.03, 0.95)
    colors = np.tile(cloth, (len(along), len(angle), 1))
    other = np.clip(cloth * rng.uniform(0.5, 1.5), 0.03, 0.95)
    kind = rng.choice(["plain", "around", "lengthwise"], p=[0.6, 0.2, 0.2])
    if kind == "around":
        period = rng.uniform(0.035, 0.06)
        stripes = smoothstep(-0.2, 0.2, np.cos(2 * np.pi * along / period))[:, None] * np.ones(len(angle))
    elif kind == "lengthwise":
        stripes = np.ones((len(along), 1)) * smoothstep(-0.3, 0.3, np.cos(int(rng.integers(4, 9)) * angle))[None]
    else:
        stripes = np.zeros((len(along), len(angle)))
    colors = colors + stripes[..., None] * (other - colors)
    colors[along < cuff] *= rng.uniform(0.8, 1.1)
    return colors
