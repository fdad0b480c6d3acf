"""Keypoints, 3D joints or meshes to the parametric hand."""

from handkit.fit.fitting import (
    FitStart,
    FitWeights,
    HandParameters,
    fit_images,
    fit_joints,
    fit_track,
    resolve_hand,
    track_ready,
)
from handkit.fit.meshes import fit_meshes

__all__ = [
    "FitStart",
    "FitWeights",
    "HandParameters",
    "fit_images",
    "fit_joints",
    "fit_meshes",
    "fit_track",
    "resolve_hand",
    "track_ready",
]
