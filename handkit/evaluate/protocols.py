"""Named ways to score hands, each a printed definition: what is compared, after which alignment, over which range.

Convention: joints are ours by index whatever order a data set's files have; thresholds are in the unit they carry.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float

from handkit.conventions import FINGERTIPS


@dataclass(frozen=True)
class Thresholds:
    """`steps` equally spaced thresholds from start to stop, both among them."""

    start: float
    stop: float
    steps: int
    unit: str = "mm"

    def values(self) -> Float[np.ndarray, " T"]:
        return np.linspace(self.start, self.stop, self.steps)

    def __str__(self) -> str:
        return f"{self.start:g}-{self.stop:g} {self.unit} ({self.steps} thresholds)"


@dataclass(frozen=True)
class Alignment:
    """How a prediction is brought to the truth before distances are taken; `prefix` begins the keys it gives."""

    name: str
    prefix: str
    words: str
    label: str


ALIGNMENTS: Final[dict[str, Alignment]] = {
    alignment.name: alignment
    for alignment in (
        Alignment("none", "", "no alignment", ""),
        Alignment("root", "ra_", "roots brought together (joint 0)", ", root-aligned"),
        Alignment("scale-translation", "st_", "roots brought together, scaled to one bone's length", ", scaled"),
        Alignment(
            "centroid-scale",
            "cs_",
            "centroids of the annotated points brought together, scaled to the same mean distance from them",
            ", centred and scaled",
        ),
        Alignment("procrustes", "pa_", "Procrustes: translation, scale and rotation, reflections allowed", ", PA"),
        Alignment(
            "procrustes-rotation", "pr_", "Procrustes: translation, scale and proper rotation", ", PA (rotation)"
        ),
    )
}

# Point 0 of STB's labels is the centre of the palm; how it is made comparable with a predicted wrist.
ROOT_JOINTS: Final[dict[str, str]] = {
    "wrist-from-ring": "true wrist = ring MCP + 2 (palm - ring MCP), as hand3d",
    "wrist-from-four": "true wrist = mean over the finger MCPs of MCP + 2.25 (palm - MCP), as Minimal-Hand-pytorch",
    "wrist-from-middle": "true wrist = middle MCP + 2.2 (palm - middle MCP)",
    "palm": "the true palm against the middle of predicted wrist and ring MCP",
    "palm-vertices": "the true palm against the mean of the predicted mesh's vertices 95 and 22",
    "as-is": "compared as both sides give it",
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One definition.

    `joint_order` and `axes` are those of the data set's own JSON files. `points` are the joints compared (None: all
    that truth has). `bone` is the pair of joints that the scale-translation alignment measures. Vertices and F-scores
    are computed after `mesh_alignments`. `missing` values in truth's z mean that a point is not annotated.
    `about_origin` compares hands about their own origin: hands.npz, in the camera frame, is brought there. One that
    needs no truth, or compares `masks`, has no alignments.
    """

    name: str
    description: str
    alignments: tuple[str, ...]
    thresholds: Thresholds
    thresholds_2d: Thresholds | None = None
    joint_order: str = "ours"
    axes: str = "opencv"
    points: tuple[int, ...] | None = None
    bone: tuple[int, int] = (0, 9)
    mesh_alignments: tuple[str, ...] = ()
    f_scores_mm: tuple[float, ...] = ()
    root_joint: str | None = None
    min_points: int = 1
    missing: tuple[float, ...] = ()
    about_origin: bool = False
    official: bool = False
    needs_truth: bool = True
    masks: bool = False

    def definition(self) -> str:
        """The whole of it in words, as reports print it."""
        return " ".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        yield f"{self.name}: {self.description}"
        if not self.needs_truth or self.masks:
            return
        ways = "; ".join(
            f"{alignment.prefix or 'no prefix'}: {alignment.words}{self._bone_words(alignment)}"
            for alignment in (ALIGNMENTS[name] for name in self.alignments)
        )
        yield f"Alignments: {ways}."
        yield f"AUC of PCK over {self.thresholds}, error <= threshold, mean over keypoints, trapezoid rule."
        if self.f_scores_mm:
            distances = " and ".join(f"{distance:g}" for distance in self.f_scores_mm)
            yield f"F-score at {distances} mm: nearest vertices, strictly nearer, mean over samples."
        if self.thresholds_2d is not None:
            yield f"2D AUC over {self.thresholds_2d}, where both sides have 2D joints."
        if self.root_joint is not None:
            yield f"Point 0: {ROOT_JOINTS[self.root_joint]}."

    def _bone_words(self, alignment: Alignment) -> str:
        return f" (joints {self.bone[0]}-{self.bone[1]})" if alignment.name == "scale-translation" else ""

    def curve_definition(self, what: str, alignment: Alignment) -> str:
        """Range, steps and alignment of one AUC."""
        return f"AUC of the PCK of {what} over {self.thresholds}; {alignment.words}{self._bone_words(alignment)}"


_TIP_ALIGNMENTS: Final = ("centroid-scale", "none")
_TIPS: Final = (
    "the five fingertips (thumb to little) that are annotated, samples with at least two of them; camera frame. "
    "Labels known to be wrong can be left out by an exclusion list."
)

PROTOCOLS: Final[dict[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="freihand",
            description=(
                "the official FreiHAND evaluation: 21 joints and the mesh in metres in the camera frame, joints and "
                "vertices aligned separately (by the joints' transform where vertex counts differ)."
            ),
            alignments=("none", "procrustes"),
            thresholds=Thresholds(0, 50, 100),
            mesh_alignments=("none", "procrustes"),
            f_scores_mm=(5, 15),
            official=True,
        ),
        Protocol(
            name="ho3d",
            description=(
                "the official HO-3D v2 and v3 evaluation: 21 joints in MANO's order and the mesh in metres, OpenGL "
                "camera axes in its JSON files; scale-translation is of joints alone."
            ),
            alignments=("none", "procrustes", "scale-translation"),
            thresholds=Thresholds(0, 50, 100),
            joint_order="ho3d",
            axes="opengl",
            mesh_alignments=("none", "procrustes"),
            f_scores_mm=(5, 15),
            official=True,
        ),
        Protocol(
            name="stb",
            description="21 points of the STB hands, 20-50 mm as in the literature since hand3d.",
            alignments=("root", "scale-translation", "procrustes", "none"),
            thresholds=Thresholds(20, 50, 100),
            thresholds_2d=Thresholds(0, 30, 20, "px"),
            bone=(9, 10),
            root_joint="wrist-from-ring",
        ),
        Protocol(
            name="rhd",
            description="21 joints of the rendered hands, 20-50 mm as in the literature since hand3d.",
            alignments=("root", "scale-translation", "procrustes", "none"),
            thresholds=Thresholds(20, 50, 100),
            thresholds_2d=Thresholds(0, 30, 20, "px"),
            bone=(9, 10),
        ),
        Protocol(
            name="egodexter",
            description=f"EgoDexter: {_TIPS}",
            alignments=_TIP_ALIGNMENTS,
            thresholds=Thresholds(20, 50, 15),
            points=FINGERTIPS,
            min_points=2,
            missing=(0.0,),
        ),
        Protocol(
            name="dexter-object",
            description=f"Dexter+Object: {_TIPS}",
            alignments=_TIP_ALIGNMENTS,
            thresholds=Thresholds(20, 50, 15),
            points=FINGERTIPS,
            min_points=2,
            missing=(32001.0,),
        ),
        Protocol(
            name="seqhand",
            description=(
                "SeqHAND: 21 joints turned by R, about the hand's own origin (hands.npz is brought there by its "
                "parameters), not aligned; 20-50 mm. The 2D range is ours: the paper names none."
            ),
            alignments=("none", "root", "procrustes"),
            thresholds=Thresholds(20, 50, 100),
            thresholds_2d=Thresholds(0, 30, 31, "px"),
            about_origin=True,
        ),
        Protocol(
            name="steadiness",
            description=(
                "hands along their tracks, without a truth: joints about the wrist (acc), turning (quaternion_rad, "
                "windows of 3 frames), shape and lighted texture (shape_sd, texture_sd: S.D. over a track's frames, "
                "mean over tracks), and how far projected joints are from detected keypoints (detections_px, in a crop "
                "of 224 pixels about the hand). Nothing spans two tracks or a gap; of several methods the frames that "
                "all have are compared."
            ),
            alignments=(),
            thresholds=Thresholds(0, 50, 100),
            needs_truth=False,
        ),
        Protocol(
            name="segmentation",
            description=(
                "masks of hands against a data set's own, cut off at the wrist: intersection over union and the share "
                "of pixels that agree, over the pixels of the square that HandNet sees (1.5 times the annotated "
                "joints' longer side with a margin, or as its checkpoint says), mean over samples (RealisticHands "
                "Table 3). GrabCut is seeded by the hand fitted to MediaPipe's keypoints, which HandNet sees too."
            ),
            alignments=(),
            thresholds=Thresholds(0, 50, 100),
            masks=True,
        ),
        Protocol(
            name="custom",
            description="points and meshes as given, by the options for alignments and thresholds.",
            alignments=("none", "root", "procrustes"),
            thresholds=Thresholds(0, 50, 100),
            thresholds_2d=Thresholds(0, 30, 31, "px"),
            mesh_alignments=("none", "root", "procrustes"),
            f_scores_mm=(5, 15),
        ),
    )
}


def adapted(
    protocol: Protocol,
    *,
    alignments: tuple[str, ...] | None = None,
    thresholds: Thresholds | None = None,
    root_joint: str | None = None,
) -> Protocol:
    """The protocol with a user's changes; the caller has checked that it may be changed."""
    if alignments is not None:
        mesh = tuple(name for name in alignments if name != "centroid-scale") if protocol.mesh_alignments else ()
        protocol = replace(protocol, alignments=alignments, mesh_alignments=mesh)
    if thresholds is not None:
        protocol = replace(protocol, thresholds=thresholds)
    if root_joint is not None:
        protocol = replace(protocol, root_joint=root_joint)
    return protocol


def summary_keys(protocol: Protocol) -> list[str]:
    """Every key that a summary may hold, for checks before anything is read; those of motion need sequences."""
    keys = score_keys(protocol)
    if protocol.masks:
        return [*keys, "count"]
    if protocol.thresholds_2d is not None:
        keys += ["epe_2d_px", "auc_2d"]
    keys += [f"{name}_{unit}" for name in ("acc", "acc_true", "acc_err") for unit in ("mm_per_frame2", "mm_per_s2")]
    keys += ["quaternion_rad", "shape_sd", "texture_sd"]
    return [*keys, *([] if protocol.needs_truth else ["detections_px"]), "count"]


def score_keys(protocol: Protocol) -> list[str]:
    """The keys that every summary holds, in their order."""
    if protocol.masks:
        return ["mask_iou", "pixel_accuracy"]
    keys = [f"{ALIGNMENTS[name].prefix}{key}" for name in protocol.alignments for key in ("mpjpe_mm", "auc_j")]
    mesh = [ALIGNMENTS[name].prefix for name in protocol.mesh_alignments]
    keys += [f"{prefix}{key}" for prefix in mesh for key in ("mpvpe_mm", "auc_v")]
    return keys + [f"{prefix}f_score_{mm:g}mm" for prefix in mesh for mm in protocol.f_scores_mm]
