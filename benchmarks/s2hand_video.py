"""S2HAND and S2HAND(V) on real videos without labels: what learning from them brings, with and without Eq. 17 and 21.

    python benchmarks/s2hand_video.py OUT [--data DIR] [--seeds N] [--set KEY=VALUE ...] [--measure-only]

From `video/right_hand_621.mp4` the first 450 frames are learned from, from both synchronous stereo videos the first 288
of 378 (HANDKIT_REALDATA or ../shared/realdata); the rest is measured on, and chooses nothing. The starting network is
the 3D branch, trained on pictures from a random backbone; from it "images" (no term over time), "quaternion" (Eq. 17)
and "both" (Eq. 17 and 21) are trained for as many steps. Clips, detections and runs are kept in OUT: the same command
goes on where it was. Printed for each network, on frames not learned from:

2D %        mean distance of the projected joints from the detector's keypoints, % of the hand's larger side (video)
ACC         mm/frame^2 of the joints about the wrist; quaternion: Eq. 17 over 3 successive frames, rad (video)
texture SD  of lighted textures, shape SD of betas, over the video's frames (Table 9's columns)
rooted, PA  mm between the two stereo views' hands, turned to the rig's axes and brought together at the wrist; after
            the best similarity
truth PA    mm from the landmarks triangulated from both views' detections, after the best similarity, mean of the views
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from real import triangulate
from seqhand_stereo import agreement, read_cameras

from handkit.detect.mediapipe import MediaPipeDetector
from handkit.hand.layer import ManoLayer
from handkit.images import RgbImage
from handkit.inference.looks import Look, look_at, square_around_joints
from handkit.inference.s2hand import S2HandPredictor, hands_in_front, load_s2hand
from handkit.metrics import acceleration_mm_per_frame2, quaternion_smoothness_rad, sd_over_time
from handkit.render.shading import face_normals, lighted_texture
from handkit.runs.s2hand import SelfsupOptions, selfsup_s2hand
from handkit.video import VideoReader, VideoWriter

LEARNED, STEREO_LEARNED = 450, 288
VARIANTS = {
    "images": ("loss.factors.quaternion=0", "loss.factors.texture_shape=0"),
    "quaternion": ("loss.factors.texture_shape=0",),
    "both": (),
}
TITLES = ("2D %", "ACC", "quaternion", "texture SD", "shape SD", "rooted", "PA", "truth PA")


@dataclass(frozen=True, eq=False)
class View:
    """What is measured on: squares around one hand over time, and the detector's keypoints in them."""

    looks: list[Look]
    K: np.ndarray
    keypoints: np.ndarray
    frames: np.ndarray


def write_clips(data: Path, out: Path) -> None:
    """The frames to learn from as clips of their own, stereo ones straightened, and a file of their cameras."""
    reader = VideoReader(data / "video" / "right_hand_621.mp4")
    cut(((f.time_s, f.image) for f in reader if f.index < LEARNED), out / "right.mp4", fps=reader.fps)
    width, height = reader.size
    focal = max(width, height) / 2 / np.tan(np.radians(30))
    cameras = {"right.mp4": {"K": [focal, focal, width / 2, height / 2]}}
    for number, camera in enumerate(read_cameras(data / "stereo")):
        frames = ((time_s, image) for index, time_s, image in camera.frames() if index < STEREO_LEARNED)
        cut(frames, out / f"stereo{number}.mp4", fps=VideoReader(camera.video).fps)
        cameras[f"stereo{number}.mp4"] = {"K": camera.K.tolist()}
    (out / "cameras.json").write_text(json.dumps(cameras))


def cut(frames: Iterator[tuple[float, RgbImage]], path: Path, *, fps: float) -> None:
    if path.is_file():
        return
    with VideoWriter(path, fps=fps, crf=12) as writer:
        for time_s, image in frames:
            writer.write(image, time_s)


def look_at_video(
    frames: Iterator[tuple[int, float, RgbImage]], K: np.ndarray, *, first: int, scale: float, size: int
) -> View:
    looks, keypoints, numbers = [], [], []
    with MediaPipeDetector(max_hands=1, tracking=True) as detector:
        for index, time_s, image in frames:
            hands = detector.detect(image)
            if index >= first and hands:
                square = square_around_joints(hands[0].bbox, scale)
                looks.append(look_at(image, square, size, is_right=True, time_s=time_s))
                keypoints.append(hands[0].keypoints_2d)
                numbers.append(index)
    return View(looks, K, np.array(keypoints), np.array(numbers))


def measure(predictor: S2HandPredictor, video: View, stereo: Sequence[View], cameras: Sequence) -> dict[str, float]:
    found = predictor.step(video.looks, np.tile(video.K, (len(video.looks), 1, 1)), want_keypoints=False)
    hands = hands_in_front(found, predictor.hand)
    joints = hands.joints.double().numpy()
    projected = joints @ video.K.T
    gap = np.linalg.norm(projected[..., :2] / projected[..., 2:] - video.keypoints, axis=-1)
    size = np.ptp(video.keypoints, axis=1).max(-1)
    rooted = hands.joints.double() - hands.joints.double()[:, :1]
    turns = torch.cat([hands.global_orient[:, None], hands.hand_pose.unflatten(-1, (15, 3))], 1)
    template = ManoLayer(predictor.hand)
    normals = face_normals(template().vertices, template.faces)
    looks = found.appearance
    texture, light = torch.from_numpy(looks.texture.astype(np.float32)), torch.from_numpy(looks.light).float()
    figures = {
        "2D %": float(100 * (gap.mean(-1) / size).mean()),
        "ACC": float(acceleration_mm_per_frame2(rooted)),
        "quaternion": float(quaternion_smoothness_rad(turns.double())),
        "texture SD": float(sd_over_time(lighted_texture(texture, normals, light).flatten(1))),
        "shape SD": float(sd_over_time(found.betas)),
    }
    views = []
    for view in stereo:
        said = predictor.step(view.looks, np.tile(view.K, (len(view.looks), 1, 1)), want_keypoints=False)
        views.append(hands_in_front(said, predictor.hand).joints.double().numpy())
    both = np.intersect1d(*(view.frames for view in stereo))
    rows = [np.searchsorted(view.frames, both) for view in stereo]
    places = [(camera.K, camera.R, camera.T) for camera in cameras]
    truth = triangulate([view.keypoints[row] for view, row in zip(stereo, rows, strict=True)], places)
    agreed = agreement([view[row] for view, row in zip(views, rows, strict=True)], cameras, truth)
    return {**figures, "rooted": agreed["rooted_mm"], "PA": agreed["pa_mm"], "truth PA": agreed["truth_pa_mm"]}


def networks(out: Path, clips: Path, seed: int, changes: Sequence[str], *, train: bool) -> dict[str, Path]:
    """The weights of the starting network and of each variant, trained where they are not there yet."""
    sources = ", ".join(json.dumps(str(clips / f"{name}.mp4")) for name in ("right", "stereo0", "stereo1"))
    common = [
        f"data.sources=[{sources}]",
        f"data.camera={clips / 'cameras.json'}",
        "data.max_hands=1",
        "keypoints=off",
        f"train.seed={seed}",
        *changes,
    ]
    start = out / "start"
    options = {"recipe": "s2hand-small", "device": "auto", "show_progress": True}
    if train:
        asked = SelfsupOptions(together="video", stage="hand")
        selfsup_s2hand(start, asked, changes=common, **options)
    init = start / "hand" / "s2hand.safetensors"
    found = {"start": init}
    for name, own in VARIANTS.items():
        if train:
            asked = SelfsupOptions(together="video", stage="video", init=init)
            selfsup_s2hand(out / name, asked, changes=[*common, *own], **options)
        found[name] = out / name / "video" / "s2hand.safetensors"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HANDKIT_REALDATA", default)))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--measure-only", action="store_true")
    arguments = parser.parse_args()
    clips = arguments.out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    write_clips(arguments.data, clips)
    table = {}
    for seed in range(arguments.seeds):
        out = arguments.out / f"seed{seed}"
        for name, weights in networks(out, clips, seed, arguments.changes, train=not arguments.measure_only).items():
            if weights.is_file():
                table[seed, name] = weights
    cameras = read_cameras(arguments.data / "stereo")
    views: tuple[View, list[View]] | None = None
    print("  ".join(f"{title:>10}" for title in TITLES))
    for (seed, name), weights in table.items():
        predictor = load_s2hand(weights)
        if views is None:
            reader = VideoReader(arguments.data / "video" / "right_hand_621.mp4")
            K = np.array([[1.0, 0, reader.size[0] / 2], [0, 1, reader.size[1] / 2], [0, 0, 1]])
            K[[0, 1], [0, 1]] = max(reader.size) / 2 / np.tan(np.radians(30))
            shown = {"scale": predictor.box_scale, "size": predictor.size}
            frames = ((f.index, f.time_s, f.image) for f in reader)
            video = look_at_video(frames, K, first=LEARNED, **shown)
            stereo = [look_at_video(one.frames(), one.K, first=STEREO_LEARNED, **shown) for one in cameras]
            views = video, stereo
            print(f"{len(video.looks)} frames of the video, {[len(view.looks) for view in stereo]} of the stereo pair")
        figures = measure(predictor, *views, cameras)
        print("  ".join(f"{figures[title]:10.4f}" for title in TITLES), f" {name}, seed {seed}", flush=True)


if __name__ == "__main__":
    main()
