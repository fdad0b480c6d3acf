"""Speed of the Triton renderer on a GPU: `pytest benchmarks/bench_render_cuda.py`; skipped where there is none.

64 open hands of random poses, 224 px, sigma 1.25 px², forward and backward. Time is the median of CUDA events over runs
on four sets of hands in turn. Bytes are an estimate, every array counted once for each kernel that reads or writes it;
the peak is what torch allocated above the inputs.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.render import soft_render, soft_silhouette, to_pixels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")

BATCH, SIZE, SIGMA = 64, (224, 224), 1.25
SETS, ROUNDS = 4, 40
BAR_PER_S = 10_000


@pytest.fixture(scope="module")
def hands() -> tuple[list[Tensor], Tensor]:
    """Four batches of hands in pixels [64,778,3], each filling most of the image, and their faces."""
    rng = np.random.default_rng(0)
    hand = load_hand("open")
    pose = angles_to_pose(torch.from_numpy(sample_angles(SETS * BATCH, rng)), joint_frames(hand)).float()
    orient = torch.from_numpy(rng.normal(0, 1.2, (SETS * BATCH, 3))).float()
    vertices = ManoLayer(hand)(global_orient=orient, hand_pose=pose).vertices
    vertices = vertices - (vertices.amax(1, keepdim=True) + vertices.amin(1, keepdim=True)) / 2
    K = torch.tensor([[700.0, 0, 112], [0, 700.0, 112], [0, 0, 1]])
    pixels = to_pixels(vertices + torch.tensor([0, 0, 0.6]), K)
    return [part.cuda().requires_grad_() for part in pixels.split(BATCH)], torch.tensor(hand.faces).cuda()


def median_seconds(run: Callable[[Tensor], object], sets: list[Tensor]) -> float:
    for vertices in sets * 3:
        run(vertices)
    seconds = []
    for round_ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(sets[round_ % SETS])
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    return float(np.median(seconds))


def peak_mb(run: Callable[[Tensor], object], vertices: Tensor) -> float:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run(vertices)
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def silhouette_mb(vertices: Tensor, faces: Tensor) -> float:
    """Estimated traffic of one silhouette, forward and backward."""
    from handkit.render import triton_soft

    corners = vertices.detach()[:, faces]
    binned = triton_soft.bin_faces(corners, triton_soft.Optics(SIZE, SIGMA))
    pixels = len(vertices) * math.prod(SIZE) * 4
    reach, corner = binned.reach.numel() * 4, corners.numel() * 4
    # Both binning passes read the reach; a tile reads 24 bytes of each member, and the backward pass each corner.
    listed = len(binned.members) * (4 + 4 + 24) + 2 * reach + 4 * len(binned.starts) * 8
    return (listed + reach + 4 * corner + 3 * pixels) / 1e6


def report(benchmark, capsys, name: str, run: Callable[[Tensor], object], sets: list[Tensor], **extra: float) -> float:
    rate = BATCH / median_seconds(run, sets)
    benchmark.extra_info.update(images_per_s=rate, peak_mb=peak_mb(run, sets[0]), **extra)
    benchmark.pedantic(lambda: (run(sets[0]), torch.cuda.synchronize()), rounds=10, warmup_rounds=2)
    with capsys.disabled():
        figures = ", ".join(f"{key} {value:,.1f}" for key, value in benchmark.extra_info.items())
        print(f"\n{name}, batch {BATCH} on {torch.cuda.get_device_name()}: {figures}")
    return rate


def test_silhouette(benchmark, capsys, hands):
    sets, faces = hands
    weights = torch.randn(BATCH, *SIZE, device="cuda")

    def run(vertices: Tensor) -> None:
        image = soft_silhouette(vertices, faces, size=SIZE, sigma=SIGMA, backend="cuda")
        torch.autograd.grad(image, vertices, weights)

    rate = report(benchmark, capsys, "silhouette", run, sets, moved_mb=silhouette_mb(sets[0], faces))
    if torch.cuda.get_device_capability() >= (9, 0):
        assert rate >= BAR_PER_S


@pytest.mark.parametrize("textured", [False, True])
def test_color(benchmark, capsys, hands, textured):
    sets, faces = hands
    random = torch.Generator(device="cuda").manual_seed(0)
    if textured:
        leaf = torch.rand(BATCH, 3, 256, 256, device="cuda", generator=random).requires_grad_()
        source = {"texture": leaf, "face_uvs": torch.rand(len(faces), 3, 2, device="cuda", generator=random)}
    else:
        leaf = torch.rand(BATCH, sets[0].shape[1], 3, device="cuda", generator=random).requires_grad_()
        source = {"vertex_colors": leaf}
    weights = torch.randn(BATCH, 3, *SIZE, device="cuda", generator=random)
    optics = {"sigma": SIGMA, "gamma": 1e-2, "near": 0.3, "far": 1.0, "background": 0.5}

    def run(vertices: Tensor) -> None:
        image = soft_render(vertices, faces, size=SIZE, **optics, **source, backend="cuda")
        torch.autograd.grad(image.rgb, (vertices, leaf), weights)

    report(benchmark, capsys, "texture" if textured else "vertex colours", run, sets)
