"""Meshes that come with a hand: what they are, the wrist's rim and its cap, how the palm moves, shared normals.

Convention: vertices [T, V, 3] in metres in the hand's own posed frame (camera axes), colours display sRGB in [0, 1].
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from handkit.hand.build.mesh import boundary_loop
from handkit.hand.build.order import CAP_FACES
from handkit.hand.model import HandModel


def _no_seam() -> Int[np.ndarray, "S 2"]:
    return np.zeros((0, 2), np.int64)


@dataclass(frozen=True, eq=False)
class ExtraMesh:
    """One mesh of a sequence of T frames, its colour and connectivity constant.

    `seam` pairs its vertices with those of the hand at the same place, where both surfaces go on into each other.
    """

    vertices: Float[np.ndarray, "T V 3"]  # float32, metres, camera axes
    faces: Int[np.ndarray, "F 3"]  # counter-clockwise from outside
    colors: Float[np.ndarray, "V 3"]
    label: int
    seam: Int[np.ndarray, "S 2"] = field(default_factory=_no_seam)


@lru_cache(maxsize=4)
def wrist_ring(hand: HandModel) -> Int[np.ndarray, " R"]:
    """The vertices around the open wrist, in the direction of the faces beside it (16 on MANO-like hands)."""
    return boundary_loop(hand.faces)


@lru_cache(maxsize=4)
def cap_faces(hand: HandModel) -> Int[np.ndarray, "F 3"]:
    """Faces that close the wrist, outward: those customary with MANO where they fit the rim, else a fan."""
    ring = wrist_ring(hand)
    usual = CAP_FACES if hand.side == "right" else CAP_FACES[:, ::-1]
    try:
        fits = np.array_equal(np.sort(boundary_loop(usual)), np.sort(ring)) and _runs_against(usual, ring)
    except (KeyError, RuntimeError):
        fits = False
    if fits:
        return usual.copy()
    return np.stack([np.full(len(ring) - 2, ring[0]), ring[2:], ring[1:-1]], axis=1)


def palm_motion(
    vertices: Float[np.ndarray, "T V 3"], hand: HandModel
) -> tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, "T 3"]]:
    """The rotation and translation of the wrist's own part of the hand from rest, least squares; float64."""
    rigid = hand.lbs_weights[:, 0] > 0.95
    rest, posed = hand.v_template[rigid], vertices[:, rigid].astype(np.float64)
    rest_mean, posed_mean = rest.mean(0), posed.mean(1)
    covariance = np.einsum("tni,nj->tij", posed - posed_mean[:, None], rest - rest_mean)
    u, _, vt = np.linalg.svd(covariance)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    rotation = u @ vt
    return rotation, posed_mean - np.einsum("tij,j->ti", rotation, rest_mean)


def area_normals(vertices: Float[np.ndarray, "*T V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "*T V 3"]:
    """Sums of the normals of the faces around each vertex, each as long as twice its face's area."""
    points = np.asarray(vertices, np.float64)
    count = points.shape[-2]
    corners = np.repeat(np.arange(len(faces)), 3)
    around = csr_array((np.ones(len(corners)), (faces.ravel(), corners)), shape=(count, len(faces)))
    frames = points.reshape(-1, count, 3)
    a, b, c = (frames[:, faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a).transpose(1, 0, 2).reshape(len(faces), -1)
    return (around @ flat).reshape(count, -1, 3).transpose(1, 0, 2).reshape(points.shape)


def unit(vectors: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Vectors of length one; zero stays zero."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def strip_faces(rings: int, around: int) -> Int[np.ndarray, "F 3"]:
    """Faces between `rings` closed loops of `around` vertices each, numbered loop by loop.

    Outward where each loop turns clockwise as seen from the side to which the loops go on.
    """
    i, k = np.meshgrid(np.arange(around), np.arange(rings - 1))
    a, b = k * around + i, k * around + (i + 1) % around
    c, d = a + around, b + around
    return np.stack([np.stack([b, a, c], -1), np.stack([b, c, d], -1)], axis=2).reshape(-1, 3)


def fan_faces(loop: Int[np.ndarray, " R"], apex: int) -> Int[np.ndarray, "F 3"]:
    """Faces that close a loop with one more vertex, facing on in the direction of `strip_faces`."""
    return np.stack([np.roll(loop, -1), loop, np.full(len(loop), apex)], axis=1)


def _runs_against(faces: np.ndarray, ring: np.ndarray) -> bool:
    """Whether a face has the ring's first edge the other way round, as a neighbour of the hand's must."""
    directed = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    return (int(ring[1]), int(ring[0])) in directed
