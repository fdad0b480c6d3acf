"""The Triton hard rasteriser against the CPU's: through Triton's interpreter anywhere, on a GPU where there is one.

It runs in a process of its own (this file as a script), because Triton reads TRITON_INTERPRET when imported.
"""

import os
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.errors import HandkitError
from handkit.render.hard import Raster, rasterize
from tests.render.triton_runs import PLACES, compile_for_hopper, drawn_by, run_script

SIZE = (24, 36)  # more than one tile, none of them whole


def soup(seed: int = 0, *, batch: int = 3, faces: int = 30) -> tuple[Tensor, Tensor]:
    """Triangles on and around the image, [batch, V, 3] exact in float32, and [faces, 3]."""
    random = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, faces, 1, 2, generator=random) * torch.tensor([46.0, 34.0]) - 5
    corners = centre + 4 * torch.randn(batch, faces, 3, 2, generator=random)
    depth = 0.3 + torch.rand(batch, faces, 3, 1, generator=random)
    return torch.cat([corners, depth], -1).flatten(1, 2).double(), torch.arange(3 * faces).reshape(faces, 3)


def fan() -> tuple[Tensor, Tensor]:
    """A closed fan over the whole image, whose corners and edges lie on pixel centres."""
    rim = torch.tensor([[-4.5, -4.5], [18.5, -4.5], [40.5, -4.5], [40.5, 28.5], [18.5, 28.5], [-4.5, 28.5]])
    points = torch.cat([rim, torch.tensor([[18.5, 12.5]])])
    points = torch.cat([points, torch.linspace(0.5, 0.8, 7)[:, None]], 1)
    return points[None].double(), torch.tensor([[i, (i + 1) % 6, 6] for i in range(6)])


def awkward() -> tuple[Tensor, Tensor]:
    """One good triangle, twice, among faces behind the camera, without area, not finite and far off the image."""
    good = [[5.0, 6.0, 0.5], [14.0, 7.0, 0.6], [9.0, 15.0, 0.7]]
    near = [[2.0, 2.0, 1e-3], [9.0, 2.0, 0.5], [2.0, 9.0, 0.5]]
    behind = [[2.0, 2.0, -0.1], [9.0, 2.0, 0.5], [2.0, 9.0, 0.5]]
    lost = [[2.0, float("nan"), 0.5], [9.0, 2.0, float("inf")], [2.0, 9.0, 0.5]]
    far = [[4e3, 6.0, 0.5], [4e3, 9.0, 0.5], [5e3, 15.0, 0.5]]
    large = [[-300.0, 20.0, 0.9], [300.0, 21.0, 0.8], [10.0, 500.0, 0.7]]
    corners = torch.tensor([behind, [[3.0, 3.0, 0.5]] * 3, good, good, near, lost, far, large]).double()
    return corners.reshape(1, -1, 3), torch.arange(3 * len(corners)).reshape(-1, 3)


def scenes() -> dict[str, tuple[Tensor, Tensor]]:
    vertices, faces = soup()
    return {
        "soup": (vertices, faces),
        "many faces a tile": soup(1, batch=1, faces=300),
        "fan": fan(),
        "awkward": awkward(),
        "off the image": (vertices + torch.tensor([500.0, 0.0, 0.0]), faces),
        "no faces": (vertices, faces[:0]),
        "no meshes": (vertices[:0], faces),
    }


def compute(device: str) -> dict[str, list[Tensor]]:
    from handkit.render.triton_hard import rasterize_batch

    return {
        f"{name} {dtype}": [
            part.cpu() for part in rasterize_batch(vertices.to(device, dtype), faces.to(device), size=SIZE)
        ]
        for name, (vertices, faces) in scenes().items()
        for dtype in (torch.float64, torch.float32)
    }


@pytest.fixture(scope="module", params=PLACES)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Tensor]]:
    return drawn_by(__file__, request.param, tmp_path_factory.mktemp("triton"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", scenes())
def test_equals_the_cpus(drawn: dict[str, list[Tensor]], name: str, dtype: torch.dtype) -> None:
    vertices, faces = scenes()[name]
    face_ids, depth, barycentric = (part.numpy() for part in drawn[f"{name} {dtype}"])
    wanted = [rasterize(one.numpy(), faces.numpy(), size=SIZE) for one in vertices]
    assert face_ids.shape == (len(vertices), *SIZE)
    assert [face_ids.dtype, depth.dtype, barycentric.dtype] == [np.int32, np.float32, np.float32]
    for index, raster in enumerate(wanted):
        different = face_ids[index] != raster.face_ids
        assert _are_ties(vertices[index], faces, different, depth[index], raster) if different.any() else True
        same = ~different & (raster.face_ids >= 0)
        np.testing.assert_array_equal(np.isinf(depth[index]), raster.face_ids < 0)
        np.testing.assert_allclose(depth[index][same], raster.depth[same], rtol=1e-5)
        np.testing.assert_allclose(barycentric[index][~different], raster.barycentric[~different], atol=2e-5)
    if name in ("soup", "fan", "awkward", "many faces a tile"):
        assert all((raster.face_ids >= 0).mean() > 0.2 for raster in wanted)


def _are_ties(vertices: Tensor, faces: Tensor, different: np.ndarray, depth: np.ndarray, raster: Raster) -> bool:
    """Where other faces won, they are as near: pixel centres on a shared edge."""
    return bool(np.allclose(depth[different], raster.depth[different], rtol=1e-6)) and different.mean() < 0.1


def test_of_equal_faces_the_first_wins(drawn: dict[str, list[Tensor]]) -> None:
    ids = drawn["awkward torch.float64"][0]
    assert 2 in ids
    assert 3 not in ids


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter takes tensors on the CPU")
def test_tensor_not_on_a_gpu_is_refused() -> None:
    pytest.importorskip("triton")
    from handkit.render.triton_hard import rasterize_batch

    with pytest.raises(HandkitError, match="got a tensor on cpu"):
        rasterize_batch(*fan(), size=SIZE)


def build() -> None:
    """Compile the kernel for a GPU of compute capability 9.0, in both types, whether or not there is one."""
    from handkit.render import triton_hard

    kernel = triton_hard._nearest
    constants = {"TILE": triton_hard.TILE, "BLOCK": triton_hard.BLOCK}
    for real in ("*fp32", "*fp64"):
        types = dict.fromkeys(kernel.arg_names, "i32") | dict.fromkeys(constants, "constexpr")
        types |= {"corners": real, "starts": "*i64", "members": "*i32", "face_ids": "*i32", "slack": "fp32"}
        types |= dict.fromkeys(("depth", "barycentric"), "*fp32")
        compile_for_hopper(kernel, types, constants)


@pytest.mark.slow
def test_kernel_compiles_without_a_gpu() -> None:
    """The interpreter runs what the compiler refuses."""
    pytest.importorskip("triton")
    run_script(__file__, False, "build")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "build":
        build()
    else:
        torch.save(compute(sys.argv[1]), sys.argv[2])
