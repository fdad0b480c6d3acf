"""Metrics: pure functions, one float64 value per sample in the unit its name ends in, NaN where undefined.

Points are in metres (or pixels where the name says so), any leading batch dimensions. `valid` marks the points that
count; what stands at the others is ignored, NaN included. A NaN at a valid point makes that sample NaN.
Points, masks and motion are torch; alignment, curves and F-score, which score files, are numpy.
"""

from handkit.metrics.alignment import (
    OfficialTransform,
    align_by_trafo,
    align_centroid_scale,
    align_official,
    align_root,
    align_scale_translation,
    official_transform,
)
from handkit.metrics.curves import (
    KeypointMeasures,
    auc,
    frames_within_px,
    keypoint_measures,
    pck_curve,
    point_auc,
    point_errors,
)
from handkit.metrics.fscore import FScore, f_score, f_score_parts
from handkit.metrics.masks import mask_iou, outside_mask_fraction, pixel_accuracy
from handkit.metrics.motion import (
    acceleration_error_mm_per_frame2,
    acceleration_error_mm_per_s2,
    acceleration_mm_per_frame2,
    acceleration_mm_per_s2,
    frame_runs,
    mean_change,
    quaternion_smoothness_rad,
    sd_over_time,
)
from handkit.metrics.points import epe_2d_px, mpjpe_mm, pa_mpjpe_mm, reprojection_error_px

__all__ = [
    "FScore",
    "KeypointMeasures",
    "OfficialTransform",
    "acceleration_error_mm_per_frame2",
    "acceleration_error_mm_per_s2",
    "acceleration_mm_per_frame2",
    "acceleration_mm_per_s2",
    "align_by_trafo",
    "align_centroid_scale",
    "align_official",
    "align_root",
    "align_scale_translation",
    "auc",
    "epe_2d_px",
    "f_score",
    "f_score_parts",
    "frame_runs",
    "frames_within_px",
    "keypoint_measures",
    "mask_iou",
    "mean_change",
    "mpjpe_mm",
    "official_transform",
    "outside_mask_fraction",
    "pa_mpjpe_mm",
    "pck_curve",
    "pixel_accuracy",
    "point_auc",
    "point_errors",
    "quaternion_smoothness_rad",
    "reprojection_error_px",
    "sd_over_time",
]
