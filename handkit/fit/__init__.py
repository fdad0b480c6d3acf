"""Keypoints, or 3D joints, to the parametric hand."""

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

__all__ = [
    "FitStart",
    "FitWeights",
    "HandParameters",
    "fit_images",
    "fit_joints",
    "fit_track",
    "resolve_hand",
    "track_ready",
]
