"""One sequence of a hand in motion: what is drawn for it, and its pictures.

Convention: x_cam = R M(theta, beta) about the model's origin, metres, camera axes (x right, y down, z forward);
pixels = s * x_cam[:2] + t. Everything follows from (recipe, seed, split, index), and from nothing else.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import nn

from handkit.errors import HandkitError
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel
from handkit.machine import cache_folder, single_thread
from handkit.synth.appearance import Appearance, develop, sample_appearance, skin_colors, templates
from handkit.synth.backgrounds import Backgrounds
from handkit.synth.camera import CameraTrack, project_orthographic, sample_camera
from handkit.synth.extras import ExtraMesh
from handkit.synth.flow import PoseIndex, pose_flow
from handkit.synth.forearm import ForearmKind, sample_forearm
from handkit.synth.occluders import OccluderKind, sample_occluder
from handkit.synth.paint import Layer, paint_sequence
from handkit.synth.poses import PoseBank
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.skin_layers import paint_surfaces

Kind = TypeVar("Kind", bound=str)
Split = Literal["train", "val"]
SPLITS: Final[dict[str, int]] = {"train": 0, "val": 1}
SHAPE_LIMIT: Final = 2.0

# One stream of random numbers for each, so that a change to one leaves the others' draws as they were.
_MOTION, _SHAPE, _CAMERA, _APPEARANCE, _FOREARM, _OCCLUDER, _BACKGROUND, _SENSOR = range(8)
# Flows found in one search; does not change them.
_FLOWS_AT_ONCE = 64
_ATTEMPTS = 64  # to draw a flow or a camera as the recipe wants them


@dataclass(frozen=True, eq=False)
class HandSequence:
    """What was drawn for one sequence of T frames, as it is recorded, and what else its pictures need.

    theta is as the mesh used it: 10 PCA coefficients (the model's mean pose added), or 45 axis-angle values.
    """

    index: int
    theta: Float32[np.ndarray, "T P"]
    beta: Float32[np.ndarray, "T 10"]  # one shape, the same in every row
    r: Float32[np.ndarray, "T 3"]  # axis-angle
    s: Float32[np.ndarray, " T"]  # pixels a metre
    t: Float32[np.ndarray, "T 2"]  # pixels
    joints_2d: Float32[np.ndarray, "T 21 2"]
    joints_3d: Float32[np.ndarray, "T 21 3"]
    vertices: Float32[np.ndarray, "T 778 3"]
    is_right: bool
    view: str
    pose_index: Int[np.ndarray, " T"]  # into the bank
    pose_kinds: tuple[str, ...]
    monk: int
    appearance: Appearance
    forearm: str | None
    occluder: str | None
    extras: tuple[ExtraMesh, ...]

    def key(self, frame: int) -> str:
        """The name of a frame's sample in a shard."""
        return f"{self.index:06d}_{frame:03d}"

    def annotations(self) -> dict[str, NDArray[Any]]:
        """What is recorded, a frame a row."""
        return {
            "theta": self.theta,
            "beta": self.beta,
            "r": self.r,
            "s": self.s,
            "t": self.t,
            "is_right": np.full(len(self.s), self.is_right),
            "joints_2d": self.joints_2d,
            "joints_3d": self.joints_3d,
            "vertices": self.vertices,
        }


class SequenceMaker:
    """Makes the sequences of one recipe, seed and split, each by its number.

    `poses` are drawn from the bank; `encoder` turns their joints into the hand's own (None: the pose that the bank
    knows). Raises HandkitError where the bank knows no poses and the recipe asks for them.
    """

    def __init__(
        self,
        recipe: SequenceRecipe,
        *,
        seed: int,
        split: Split,
        bank: PoseBank,
        hand: HandModel,
        backgrounds: Path | None = None,
        encoder: nn.Module | None = None,
    ) -> None:
        if encoder is None and bank.hand_pose is None:
            raise HandkitError(
                f"theta_source is bank, but the poses of {bank.source} are joints alone", "set theta_source=encoder"
            )
        self.recipe, self.seed, self.split, self.bank, self.hand = recipe, seed, split, bank, hand
        self.backgrounds = Backgrounds(backgrounds, recipe.size, recipe.background)
        self._encoder = None if encoder is None else encoder.double().eval()
        self._layer = ManoLayer(hand, num_pca=10, flat_hand_mean=False) if recipe.theta == 10 else ManoLayer(hand)

    @cached_property
    def _index(self) -> PoseIndex:
        return PoseIndex(self.bank.joints.reshape(len(self.bank), 63), folder=cache_folder() / "poses")

    def sources(self) -> dict[str, str]:
        """What sequences are made from besides the recipe: hashes of poses, hand and encoder."""
        hand = [self.hand.v_template, self.hand.shapedirs, self.hand.posedirs, self.hand.lbs_weights, self.hand.faces]
        hand += [self.hand.J_regressor, self.hand.hands_mean, self.hand.hands_components]
        poses = [self.bank.joints, self.bank.kind]
        if self._encoder is None and self.bank.hand_pose is not None:
            poses.append(self.bank.hand_pose)
        learned = [] if self._encoder is None else [value.numpy() for value in self._encoder.state_dict().values()]
        return {
            "poses": _hash(poses),
            "hand": _hash(hand),
            "encoder": _hash(learned),
        }

    def annotate(self, index: int) -> HandSequence:
        """Everything about sequence `index` but its pictures."""
        return next(self.annotate_many([index]))

    def annotate_many(self, indices: Iterable[int]) -> Iterator[HandSequence]:
        """The same as `annotate` one by one, faster."""
        numbers = list(indices)
        for first in range(0, len(numbers), _FLOWS_AT_ONCE):
            some = numbers[first : first + _FLOWS_AT_ONCE]
            for number, poses in zip(some, self._flows(some), strict=True):
                with single_thread(), torch.no_grad():
                    drawn = self._draw(number, poses)
                yield drawn  # outside: what is done with it keeps its own threads and gradients

    def render(self, sequence: HandSequence) -> tuple[UInt8[np.ndarray, "T H W 3"], UInt8[np.ndarray, "T H W"]]:
        """The pictures, and what every pixel's centre shows (see `handkit.labels`)."""
        look = sequence.appearance
        images, labels = paint_sequence(
            self.background(sequence), self.layers(sequence), light=look.light, supersample=self.recipe.supersample
        )
        rng = self._rng(sequence.index, _SENSOR)
        return np.stack([develop(image, look, rng) for image in images]), labels

    def background(self, sequence: HandSequence) -> UInt8[np.ndarray, "T H W 3"]:
        """What is behind everything."""
        rng = self._rng(sequence.index, _BACKGROUND)
        return self.backgrounds.track(rng, len(sequence.s), self.recipe.size)

    def layers(self, sequence: HandSequence) -> list[Layer]:
        """The meshes of a sequence where its pictures have them: the hand first."""
        surfaces = paint_surfaces(sequence.vertices, self.hand, sequence.appearance, sequence.extras)
        return [
            Layer(
                _to_pixels(surface.vertices, sequence.s, sequence.t),
                surface.normals,
                surface.faces,
                surface.colors,
                surface.label,
            )
            for surface in surfaces
        ]

    def _rng(self, index: int, part: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, SPLITS[self.split], index, part))

    def _flows(self, indices: Sequence[int]) -> Int[np.ndarray, "Q T"]:
        """Which poses of the bank each sequence goes through (SeqHAND Eq. 5 to 7)."""
        flow, frames = self.recipe.flow, self.recipe.frames
        rngs = [self._rng(index, _MOTION) for index in indices]
        found = np.empty((len(indices), frames), np.int64)
        left = np.arange(len(indices))
        for attempt in range(_ATTEMPTS):
            start, end = np.array([rngs[row].integers(len(self.bank.joints), size=2) for row in left], np.int64).T
            poses = pose_flow(self._index, start, end, frames=frames, alpha=flow.alpha, metric=flow.metric)
            still = (poses[:, 1:] == poses[:, :-1]).sum(1)
            done = still <= (1.0 if flow.max_still is None or attempt == _ATTEMPTS - 1 else flow.max_still) * (
                frames - 1
            )
            found[left[done]] = poses[done]
            left = left[~done]
            if not len(left):
                break
        return found

    def _draw(self, index: int, poses: Int[np.ndarray, " T"]) -> HandSequence:
        recipe = self.recipe
        shape = self._rng(index, _SHAPE).uniform(-SHAPE_LIMIT, SHAPE_LIMIT, 10)
        beta = _recorded(np.tile(shape, (recipe.frames, 1)))
        theta = _recorded(self._theta(poses))
        posed = self._layer(hand_pose=torch.from_numpy(theta).double(), betas=torch.from_numpy(beta).double())
        camera = self._camera(index, posed.vertices.numpy())
        r, s, t = _recorded(camera.r), _recorded(camera.s), _recorded(camera.t)
        turned = Rotation.from_rotvec(r.astype(np.float64)).as_matrix().swapaxes(1, 2)
        vertices, joints = (_recorded(points.numpy() @ turned) for points in posed)
        look = sample_appearance(self._rng(index, _APPEARANCE), shading=recipe.shading, skin=recipe.skin)
        forearm, occluder, extras = self._extras(index, vertices, joints, look)
        return HandSequence(
            index=index,
            theta=theta,
            beta=beta,
            r=r,
            s=s,
            t=t,
            joints_2d=_recorded(_to_pixels(joints, s, t)[..., :2]),
            joints_3d=joints,
            vertices=vertices,
            is_right=self.hand.side == "right",
            view=camera.view,
            pose_index=poses,
            pose_kinds=tuple(self.bank.kinds[kind] for kind in self.bank.kind[poses]),
            monk=int(templates().monk[look.template]),
            appearance=look,
            forearm=forearm,
            occluder=occluder,
            extras=extras,
        )

    def _camera(self, index: int, vertices: Float[np.ndarray, "T 778 3"]) -> CameraTrack:
        """The first drawn that shows no arm from its end, of the view that was drawn first."""
        wanted, rng, first = self.recipe.camera, self._rng(index, _CAMERA), None
        for _ in range(_ATTEMPTS):
            track = sample_camera(
                rng,
                vertices,
                size=self.recipe.size,
                recipe=wanted.recipe,
                alpha=self.recipe.flow.alpha,
                in_frame=wanted.in_frame,
            )
            first = first or track
            lean = arm_lean_deg(track.r, self.hand)
            if wanted.arm_lean_deg is None or (track.view == first.view and lean.max() <= wanted.arm_lean_deg):
                return track
        assert first is not None
        return first

    def _theta(self, poses: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T P"]:
        if self._encoder is not None:
            return self._encoder(torch.from_numpy(self.bank.joints[poses]).double()).numpy()
        assert self.bank.hand_pose is not None
        known = self.bank.hand_pose[poses].astype(np.float64)
        if self.recipe.theta == 45:
            return known
        return (known - self.hand.hands_mean) @ np.linalg.pinv(self.hand.hands_components[:10])

    def _extras(
        self, index: int, vertices: NDArray[np.float32], joints: NDArray[np.float32], look: Appearance
    ) -> tuple[str | None, str | None, tuple[ExtraMesh, ...]]:
        """The kinds of forearm and occluder, None for none, and their meshes."""
        recipe = self.recipe
        extras: list[ExtraMesh] = []
        rng = self._rng(index, _FOREARM)
        arms: dict[ForearmKind, float] = {"bare": recipe.forearm.bare, "sleeve": recipe.forearm.sleeve}
        forearm = _choose(rng, arms)
        if forearm is not None:
            skin = skin_colors(look, templates().colors[look.template])
            extras.append(sample_forearm(rng, vertices, self.hand, kind=forearm, skin_colors=skin))
        rng = self._rng(index, _OCCLUDER)
        objects: dict[OccluderKind, float] = {"front": recipe.occluders.front, "held": recipe.occluders.held}
        occluder = _choose(rng, objects)
        if occluder is not None:
            extras.append(sample_occluder(rng, vertices, joints, kind=occluder))
        return forearm, occluder, tuple(extras)


def arm_lean_deg(r: Float[np.ndarray, "T 3"], hand: HandModel) -> Float[np.ndarray, " T"]:
    """How far the way from the hand up its straight arm leans out of the picture, towards the camera; -90 to 90."""
    up_the_arm = Rotation.from_rotvec(r).apply([1.0 if hand.side == "right" else -1.0, 0.0, 0.0])
    return np.degrees(np.arcsin(np.clip(-up_the_arm[:, 2], -1, 1)))


def _hash(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _choose(rng: np.random.Generator, shares: dict[Kind, float]) -> Kind | None:
    """One of the names by its share, or None for the rest."""
    drawn = rng.random()
    for name, share in shares.items():
        drawn -= share
        if drawn < 0:
            return name
    return None


def _recorded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """As it is stored. What follows is computed from the stored value, so that the file agrees with the pictures."""
    return np.ascontiguousarray(values, np.float32)


def _to_pixels(points: NDArray[np.float32], s: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.float64]:
    """Pixels and depth [T, N, 3] of recorded points, by the recorded camera."""
    exact = (np.asarray(values, np.float64) for values in (points, s, t))
    return project_orthographic(*exact)
