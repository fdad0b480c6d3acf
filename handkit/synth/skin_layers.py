"""The surfaces of a sequence ready to paint: fine skin, a closed wrist, extras that go on smoothly from it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from handkit.hand.model import HandModel
from handkit.labels import HAND
from handkit.synth.appearance import Appearance, skin_colors
from handkit.synth.extras import ExtraMesh, area_normals, cap_faces, unit
from handkit.synth.skin_detail import detail_mesh, detail_templates


class PaintedSurface(NamedTuple):
    """One mesh over T frames, camera axes."""

    vertices: Float[np.ndarray, "T N 3"]
    normals: Float[np.ndarray, "T N 3"]  # unit, outward
    faces: Int[np.ndarray, "F 3"]
    colors: Float[np.ndarray, "N 3"]
    label: int


def paint_surfaces(
    vertices: Float[np.ndarray, "T V 3"],
    hand: HandModel,
    look: Appearance,
    extras: Sequence[ExtraMesh] = (),
    *,
    levels: int = 1,
) -> list[PaintedSurface]:
    """The hand first, subdivided `levels` times in its own surface, then the extras.

    Where nothing goes on from the wrist it is closed by its cap; else normals are shared along the seam.
    """
    joined = any(len(extra.seam) for extra in extras)
    faces = hand.faces if joined else np.concatenate([hand.faces, cap_faces(hand)])
    exact = np.asarray(vertices, np.float64)
    normals = area_normals(exact, hand.faces)
    others = []
    for extra in extras:
        own = area_normals(extra.vertices, extra.faces)
        there, here = extra.seam.T
        joint = normals[:, here] + own[:, there]
        normals[:, here], own[:, there] = joint, joint
        others.append(PaintedSurface(extra.vertices, unit(own), extra.faces, extra.colors, extra.label))
    mesh = detail_mesh(hand, levels)
    colors = skin_colors(look, detail_templates(hand, levels).colors[look.template])
    fine_faces = np.concatenate([mesh.faces, faces[len(hand.faces) :]])
    smooth = unit(mesh.interpolate(unit(normals)))
    return [PaintedSurface(mesh.interpolate(exact), smooth, fine_faces, colors, HAND), *others]
