"""Painting made-up pictures on the CPU: milliseconds of one core a frame of 224 x 224.

    pytest benchmarks/bench_paint.py

A sequence of ten frames: a hand that fills half of the frame and a second mesh of as many faces behind it, lit,
2 x 2 samples a pixel; the hand as it is (1538 faces) and with every face cut in 4 and in 16. Then backgrounds, and
camera tracks. Figures are medians of the processor's time, so that other programs count less.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from handkit.hand import load_hand
from handkit.render.shaded import vertex_normals
from handkit.synth.appearance import Light
from handkit.synth.backgrounds import Backgrounds
from handkit.synth.camera import project_orthographic, sample_camera
from handkit.synth.paint import Layer, paint_sequence

SIZE = 224
FRAMES = 10
LIGHT = Light(ambient=0.3, diffuse=0.8, direction=(-0.4, -0.6, -0.7), color=(1.0, 1.0, 1.0), sheen=0.05)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def layer(cuts: int, label: int, *, shift: float = 0.0) -> Layer:
    """A hand that turns, ten frames of it."""
    hand = load_hand("open")
    corners, faces = np.hstack([hand.v_template, hand.vertex_colors]), hand.faces
    for _ in range(cuts):
        corners, faces = trimesh.remesh.subdivide(corners, faces)[:2]
    centred = corners[:, :3] - corners[:, :3].mean(0)
    turns = Rotation.from_rotvec(np.linspace([1.0, 0.4, 0.2], [1.6, 0.8, 0.5], FRAMES)).as_matrix()
    vertices = centred @ turns.transpose(0, 2, 1)
    normals = np.stack([vertex_normals(frame, faces.astype(np.int32))[0] for frame in vertices])
    s, t = np.full(FRAMES, 650.0), np.full((FRAMES, 2), SIZE / 2 + shift)
    points = project_orthographic(vertices + np.array([0, 0, shift / 1000]), s, t)
    return Layer(points, normals, faces, corners[:, 3:], label)


def painting(cuts: int) -> Callable[[], object]:
    layers = [layer(cuts, 255), layer(0, 128, shift=40.0)]
    backgrounds = np.full((FRAMES, SIZE, SIZE, 3), 120, np.uint8)
    return lambda: paint_sequence(backgrounds, layers, light=LIGHT)


def backgrounds(_: int) -> Callable[[], object]:
    made, numbers = Backgrounds(None, SIZE), iter(range(10**6))
    return lambda: made.track(np.random.default_rng((0, next(numbers))), FRAMES, SIZE)


def tracks(_: int) -> Callable[[], object]:
    vertices, numbers = np.repeat(load_hand("open").v_template[None], FRAMES, 0), iter(range(10**6))
    return lambda: sample_camera(
        np.random.default_rng((0, next(numbers))), vertices, size=SIZE, recipe="paper", alpha=1.2
    )


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize(
    ("build", "cuts", "bar_ms"),
    [(painting, 0, 6), (painting, 1, 6), (painting, 2, 6), (backgrounds, 0, 4), (tracks, 0, 1)],
)
def test_milliseconds_a_frame(
    benchmark: Any,
    capsys: pytest.CaptureFixture,
    build: Callable[[int], Callable[[], object]],
    cuts: int,
    bar_ms: float,
) -> None:
    benchmark.pedantic(build(cuts), rounds=60 if build is backgrounds else 20, warmup_rounds=2)
    each = 1000 * benchmark.stats.stats.median / FRAMES
    benchmark.extra_info.update(ms_a_frame=each)
    with capsys.disabled():
        print(f"\n{build.__name__}{f', {1538 * 4**cuts} faces' if build is painting else ''}: {each:.2f} ms a frame")
    assert each <= bar_ms
