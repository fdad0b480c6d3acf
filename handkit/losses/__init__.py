"""Losses: pure functions, means over valid elements, finite in value and gradient also at the target.

Convention: leading dimensions `*B` are samples. A mean does not depend on how many there are; where a paper prints a
sum, its settings carry the factor. Nothing valid gives 0. Silhouettes and colours lie in [0, 1], points are metres or
pixels (x, y), centres at +0.5.
What has `each` is the mean over samples of every sample's own value, or with `each` those values [*B]. The losses of
`seqhand` and `handnet` are means over all valid elements at once, so that a sample without annotation takes no part.
Those of `s2hand` are means over samples, each weighted by its confidences; its `..._released` ones weight over a whole
batch.
"""

from handkit.losses.binocular import (
    appearance_consistency,
    epipolar_gap,
    one_shape,
    prior_distance,
    sample_colors,
)
from handkit.losses.handnet import (
    mask_bce,
    nearest_writing,
    points_distance,
    points_mse,
    pose_mse,
    scale_behind,
    shape_norm,
    values_mse,
)
from handkit.losses.lixel import edge_lengths, edge_lengths_l1, normals_l1, points_l1
from handkit.losses.mesh import MeshEdges, build_mesh_edges, edge_length, laplacian, normal_consistency, vertex_offset
from handkit.losses.photometric import photometric_l1, photometric_l1_released, ssim, ssim_loss
from handkit.losses.points import keypoint_distance
from handkit.losses.s2hand import (
    bone_length,
    bone_orientation,
    estimated_location_released,
    joint_location,
    joint_location_released,
    keypoint_consistency,
    mean_color,
    pose_limits,
    shape_regularization,
    shape_regularization_released,
    texture_outliers,
    texture_outliers_released,
)
from handkit.losses.s2hand_video import (
    quaternion_path,
    shape_consistency,
    texture_consistency,
    texture_shape_consistency,
    thresholded_motion,
)
from handkit.losses.seqhand import (
    joints_2d_l1,
    joints_3d_l2,
    parameter_l2,
    root_aligned,
    temporal_consistency,
    vertices_l2,
)
from handkit.losses.silhouette import mask_distance_px, mask_fitting, silhouette_coarse, silhouette_l2

__all__ = [
    "MeshEdges",
    "appearance_consistency",
    "bone_length",
    "bone_orientation",
    "build_mesh_edges",
    "edge_length",
    "edge_lengths",
    "edge_lengths_l1",
    "epipolar_gap",
    "estimated_location_released",
    "joint_location",
    "joint_location_released",
    "joints_2d_l1",
    "joints_3d_l2",
    "keypoint_consistency",
    "keypoint_distance",
    "laplacian",
    "mask_bce",
    "mask_distance_px",
    "mask_fitting",
    "mean_color",
    "nearest_writing",
    "normal_consistency",
    "normals_l1",
    "one_shape",
    "parameter_l2",
    "photometric_l1",
    "photometric_l1_released",
    "points_distance",
    "points_l1",
    "points_mse",
    "pose_limits",
    "pose_mse",
    "prior_distance",
    "quaternion_path",
    "root_aligned",
    "sample_colors",
    "scale_behind",
    "shape_consistency",
    "shape_norm",
    "shape_regularization",
    "shape_regularization_released",
    "silhouette_coarse",
    "silhouette_l2",
    "ssim",
    "ssim_loss",
    "temporal_consistency",
    "texture_consistency",
    "texture_outliers",
    "texture_outliers_released",
    "texture_shape_consistency",
    "thresholded_motion",
    "values_mse",
    "vertex_offset",
    "vertices_l2",
]
