"""The soft renderer on the CPU: milliseconds an image, forward plus backward, on two threads, and a batch's memory.

    pytest benchmarks/bench_render.py

One open hand of 1538 faces filling most of a 224 x 224 image, sigma 1.25 px^2. Figures are medians.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from handkit.geometry.cameras import default_K
from handkit.hand import load_hand
from handkit.render import soft_render, soft_silhouette, to_pixels

SIZE = (224, 224)
SIGMA = 1.25


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def hands(batch: int) -> tuple[Tensor, Tensor]:
    """Hands [B, 778, 3] in pixels, a little apart, that cover about a fifth of the image, and their faces."""
    hand = load_hand("open")
    points = torch.tensor(hand.v_template - hand.v_template.mean(0), dtype=torch.float32)
    # The palm faces -y at rest; the camera looks along z.
    points = points[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])
    shift = torch.linspace(-0.01, 0.01, batch)[:, None, None] * torch.tensor([1.0, 0.5, 0.0])
    K = default_K(SIZE[1], SIZE[0]).float().expand(batch, 3, 3)
    return to_pixels(points + shift + torch.tensor([0.0, 0.0, 0.22]), K), torch.tensor(hand.faces)


def silhouettes(batch: int) -> Callable[[], None]:
    vertices, faces = hands(batch)
    vertices.requires_grad_()

    def run() -> None:
        image = soft_silhouette(vertices, faces, size=SIZE, sigma=SIGMA, backend="cpu")
        torch.autograd.grad(image.square().sum(), vertices)

    return run


def textured(batch: int) -> Callable[[], None]:
    vertices, faces = hands(batch)
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(batch, 3, 256, 256, generator=generator).requires_grad_()
    face_uvs = torch.rand(len(faces), 1, 2, generator=generator) * 0.95
    face_uvs = face_uvs + torch.rand(len(faces), 3, 2, generator=generator) * 0.05
    vertices.requires_grad_()

    def run() -> None:
        image = soft_render(
            vertices, faces, size=SIZE, sigma=SIGMA, gamma=1e-3, near=0.1, far=1.0, background=1.0,
            texture=texture, face_uvs=face_uvs, backend="cpu",
        )  # fmt: skip
        loss = image.rgb.square().sum() + image.alpha.square().sum() + image.depth.square().sum()
        torch.autograd.grad(loss, (vertices, texture))

    return run


@pytest.mark.parametrize(
    ("build", "batch", "bar_ms"), [(silhouettes, 1, 15), (silhouettes, 16, 15), (textured, 1, 40), (textured, 16, 40)]
)
def test_milliseconds_an_image(
    benchmark: Any, capsys: pytest.CaptureFixture, build: Callable[[int], Callable[[], None]], batch: int, bar_ms: float
) -> None:
    benchmark.pedantic(build(batch), rounds=40 if batch == 1 else 8, warmup_rounds=2)
    each = 1000 * benchmark.stats.stats.median / batch
    benchmark.extra_info.update(ms_an_image=each)
    with capsys.disabled():
        print(f"\n{build.__name__}, batch {batch}, forward + backward: {each:.2f} ms an image")
    assert each <= bar_ms


@pytest.mark.parametrize("build", [silhouettes, textured])
def test_memory_of_a_batch(capsys: pytest.CaptureFixture, build: Callable[[int], Callable[[], None]]) -> None:
    """Peak memory of 16 images above that of the same process after one small image and with the inputs in place."""
    code = (
        "import torch; torch.set_num_threads(2)\n"
        f"from benchmarks.bench_render import {build.__name__} as build\n"
        "build(1)(); run = build(16)\n"
        "held = lambda key: int(open('/proc/self/status').read().split(key + ':')[1].split()[0]) / 1024\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"  # the peak starts anew
        "before = held('VmRSS'); run(); print(held('VmHWM') - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    megabytes = float(found.stdout)
    with capsys.disabled():
        print(f"\n{build.__name__}, batch 16: {megabytes:.0f} MB above the inputs")
    assert megabytes < 500
