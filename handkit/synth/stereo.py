"""One hand before a stereo camera like the ZED: what is drawn for it, and its pair of pictures.

After RealisticHands 3.4 and supplement 3: rectified cameras 120 mm apart, the hand's root on the optical axis, poses
from six PCA components, uniform shape, the forearm in view, palms as frequent as backs. The ZED's pictures of 1280 x
720 have a focal length of 700 px, 0.546875 of their width, and are sharp from 0.28 m on (Stereolabs support, "What is
the camera focal length and the field of view?"). Several pairs in a row may show one hand, each time in another pose
and at another place: its shape, skin, light, forearm and wall are drawn once, with the first of them.

Convention: everything 3D is in the left camera's frame (metres, OpenCV axes); pixel centres at +0.5. Everything follows
from (recipe, seed, split, index), and from nothing else.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.spatial.transform import Rotation

from handkit.errors import HandkitError
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel
from handkit.machine import single_thread
from handkit.synth.appearance import Appearance, develop, sample_appearance, skin_colors, templates
from handkit.synth.backgrounds import Backgrounds
from handkit.synth.extras import ExtraMesh
from handkit.synth.forearm import sample_forearm
from handkit.synth.paint import Layer, paint
from handkit.synth.recipe import ForearmRecipe, LooksRecipe, Share
from handkit.synth.sequence import SHAPE_LIMIT, SPLITS, Split
from handkit.synth.skin_layers import paint_surfaces
from handkit.synth.stereo_scene import (
    COMPONENTS,
    StereoCamera,
    forearm_depths,
    least_depth,
    patch_size,
    sample_hold,
    sample_theta,
    sample_wall,
    show_wall,
)

_POSE, _SHAPE, _PLACE, _APPEARANCE, _FOREARM, _BACKGROUND, _SENSOR = range(7)
_HOLDS: Final = 100


class StereoRecipe(LooksRecipe):
    """Stereo pairs of a hand.

    focal: focal length over the picture's width. root_on: whose optical axis goes through the wrist, the left camera's
    or the one midway ("rig"). palms: the share of pairs that show the palm. in_frame: all of the hand in both pictures.
    same_hand: so many pairs in a row are of one hand.
    """

    width: Annotated[int, Field(ge=64, le=4096)] = 640
    height: Annotated[int, Field(ge=64, le=4096)] = 360
    focal: Annotated[float, Field(gt=0.1, le=4)] = 0.546875
    baseline_m: Annotated[float, Field(gt=0, le=0.5)] = 0.12
    near_m: Annotated[float, Field(ge=0.2, le=2)] = 0.3
    far_m: Annotated[float, Field(ge=0.2, le=2)] = 0.7
    root_on: Literal["left", "rig"] = "left"
    palms: Share = 0.5
    in_frame: bool = True
    same_hand: Annotated[int, Field(ge=1, le=1000)] = 1
    shading: bool = True
    forearm: ForearmRecipe = ForearmRecipe(bare=0.5, sleeve=0.5)
    image_format: Literal["jpg", "png"] = "jpg"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    supersample: Annotated[int, Field(ge=1, le=4)] = 2

    @model_validator(mode="after")
    def _near_before_far(self) -> "StereoRecipe":
        if self.near_m > self.far_m:
            raise ValueError("near_m should be at most far_m")
        return self

    def camera(self) -> StereoCamera:
        """The pair of cameras."""
        return StereoCamera(self.width, self.height, self.focal * self.width, self.baseline_m)


@dataclass(frozen=True, eq=False)
class HandPair:
    """What was drawn for one pair, as it is recorded, and what else its pictures need.

    theta: six PCA coefficients, the model's mean pose added. `ManoLayer(hand, num_pca=6, flat_hand_mean=False)` of
    theta, beta, global_orient and transl gives vertices and joints_3d.
    """

    index: int
    camera: StereoCamera
    theta: Float32[np.ndarray, " 6"]
    hand_pose: Float32[np.ndarray, " 45"]  # the same pose, axis-angle, mean added
    beta: Float32[np.ndarray, " 10"]
    global_orient: Float32[np.ndarray, " 3"]
    transl: Float32[np.ndarray, " 3"]
    joints_3d: Float32[np.ndarray, "21 3"]
    vertices: Float32[np.ndarray, "778 3"]
    is_right: bool
    palm: bool
    monk: int
    appearance: Appearance
    forearm: str | None
    extras: tuple[ExtraMesh, ...]

    @property
    def key(self) -> str:
        """The name of the sample in a shard."""
        return f"{self.index:06d}"

    def annotations(self) -> dict[str, NDArray[Any]]:
        """What is recorded."""
        camera = self.camera
        left, right = np.eye(3, 4), np.eye(3, 4)
        right[0, 3] = -camera.baseline_m
        return {
            "theta": self.theta,
            "hand_pose": self.hand_pose,
            "beta": self.beta,
            "global_orient": self.global_orient,
            "transl": self.transl,
            "is_right": np.array(self.is_right),
            "joints_3d": self.joints_3d,
            "vertices": self.vertices,
            "joints_2d_left": _recorded(camera.project(self.joints_3d)[:, :2]),
            "joints_2d_right": _recorded(camera.project(camera.to_right(self.joints_3d))[:, :2]),
            "K_left": _recorded(camera.K),
            "K_right": _recorded(camera.K),
            "Rt_left": _recorded(left),
            "Rt_right": _recorded(right),
        }


class StereoMaker:
    """Makes the pairs of one recipe, seed and split, each by its number."""

    def __init__(
        self, recipe: StereoRecipe, *, seed: int, split: Split, hand: HandModel, backgrounds: Path | None = None
    ) -> None:
        self.recipe, self.seed, self.split, self.hand = recipe, seed, split, hand
        self.camera = recipe.camera()
        self.backgrounds = Backgrounds(backgrounds, patch_size(self.camera), recipe.background)
        self._layer = ManoLayer(hand, num_pca=COMPONENTS, flat_hand_mean=False)

    def annotate(self, index: int) -> HandPair:
        """Everything about pair `index` but its pictures."""
        with single_thread(), torch.no_grad():
            return self._draw(index)

    def annotate_many(self, indices: Iterable[int]) -> Iterator[HandPair]:
        """Pairs in turn."""
        return map(self.annotate, indices)

    def render(self, pair: HandPair) -> tuple[UInt8[np.ndarray, "2 H W 3"], UInt8[np.ndarray, "2 H W"]]:
        """The left and the right picture, and what every pixel's centre shows (see `handkit.labels`)."""
        rng, look = self._rng_of_hand(pair.index, _BACKGROUND), pair.appearance
        wall = sample_wall(rng, self.camera)
        views = show_wall(self.backgrounds.track(rng, 1, patch_size(self.camera))[0], wall, self.camera)
        rng = self._rng(pair.index, _SENSOR)
        pictures, masks = [], []
        for view, layers in zip(views, self.layers(pair), strict=True):
            painted, labels = paint(
                view, layers, light=look.light, supersample=self.recipe.supersample, perspective=True
            )
            pictures.append(develop(painted, look, rng))
            masks.append(labels)
        return np.stack(pictures), np.stack(masks)

    def layers(self, pair: HandPair) -> tuple[list[Layer], list[Layer]]:
        """The meshes where the left and the right picture have them: the hand first."""
        left: list[Layer] = []
        right: list[Layer] = []
        for surface in paint_surfaces(pair.vertices[None], self.hand, pair.appearance, pair.extras):
            points, normals = np.asarray(surface.vertices[0], np.float64), surface.normals[0]
            for layers, seen in ((left, points), (right, self.camera.to_right(points))):
                layers.append(Layer(self.camera.project(seen), normals, surface.faces, surface.colors, surface.label))
        return left, right

    def sources(self) -> dict[str, str]:
        """What pairs are made from besides the recipe: a hash of the hand."""
        hand = self.hand
        arrays = (hand.v_template, hand.shapedirs, hand.posedirs, hand.lbs_weights, hand.J_regressor, hand.hands_mean)
        digest = hashlib.sha256()
        for array in (*arrays, hand.hands_components, hand.faces):
            digest.update(np.ascontiguousarray(array).tobytes())
        return {"hand": digest.hexdigest()[:16]}

    def _rng(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, SPLITS[self.split], index, part))

    def _rng_of_hand(self, index: int, part: int) -> np.random.Generator:
        """The same for all pairs of one hand."""
        return self._rng(index - index % self.recipe.same_hand, part)

    def _draw(self, index: int) -> HandPair:
        theta = _recorded(sample_theta(self._rng(index, _POSE), self.hand, self._layer))
        beta = _recorded(self._rng_of_hand(index, _SHAPE).uniform(-SHAPE_LIMIT, SHAPE_LIMIT, 10))
        shape = {"hand_pose": torch.from_numpy(theta).double(), "betas": torch.from_numpy(beta).double()}
        rest = self._layer(**shape)
        wrist = rest.joints[0].numpy()
        orient, root, palm = self._place(self._rng(index, _PLACE), rest.vertices.numpy() - wrist)
        transl = _recorded(root - wrist)
        posed = self._layer(
            **shape, global_orient=torch.from_numpy(orient).double(), transl=torch.from_numpy(transl).double()
        )
        vertices, joints = (_recorded(points.numpy()) for points in posed)
        rng, chances = self._rng_of_hand(index, _APPEARANCE), self.recipe.forearm
        look = sample_appearance(rng, shading=self.recipe.shading, skin=self.recipe.skin)
        rng = self._rng_of_hand(index, _FOREARM)
        drawn = rng.random()
        kind: Literal["bare", "sleeve"] | None = "bare" if drawn < chances.bare else "sleeve"
        if drawn >= chances.bare + chances.sleeve:
            kind = None
        skin = skin_colors(look, templates().colors[look.template])
        extras = () if kind is None else (sample_forearm(rng, vertices[None], self.hand, kind=kind, skin_colors=skin),)
        return HandPair(
            index=index,
            camera=self.camera,
            theta=theta,
            hand_pose=_recorded(self.hand.hands_mean + theta.astype(float) @ self.hand.hands_components[:COMPONENTS]),
            beta=beta,
            global_orient=orient,
            transl=transl,
            joints_3d=joints,
            vertices=vertices,
            is_right=self.hand.side == "right",
            palm=palm,
            monk=int(templates().monk[look.template]),
            appearance=look,
            forearm=kind,
            extras=extras,
        )

    def _place(
        self, rng: np.random.Generator, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], bool]:
        """global_orient, where the wrist is, and whether the palm shows; points are about the wrist, at rest."""
        recipe = self.recipe
        # Palm or back once: what does not fit is held otherwise, so that neither becomes the rarer one.
        palm = bool(rng.random() < recipe.palms)
        root = np.array([recipe.baseline_m / 2 if recipe.root_on == "rig" else 0.0, 0.0, 0.0])
        for _ in range(_HOLDS):
            hold = sample_hold(rng, side=self.hand.side, palm=palm)
            near, far = recipe.near_m, recipe.far_m
            if recipe.forearm.bare + recipe.forearm.sleeve > 0:
                nearest, farthest = forearm_depths(hold.forearm, root, self.camera)
                near, far = max(near, nearest), min(far, farthest)
            if recipe.in_frame:
                near = max(near, least_depth(points @ hold.rotation.T, root, self.camera))
            if near <= far:
                root[2] = rng.uniform(near, far)
                return _recorded(Rotation.from_matrix(hold.rotation).as_rotvec()), root, palm
        raise HandkitError(
            f"no hand fits in both pictures within {recipe.far_m} m",
            "set far_m or height higher, or focal lower, or in_frame=false",
        )


def _recorded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """As it is stored. What follows is computed from the stored value, so that the file agrees with the pictures."""
    return np.ascontiguousarray(values, np.float32)
