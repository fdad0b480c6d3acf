"""The Triton renderer against the reference: through Triton's interpreter anywhere, on a GPU where there is one.

The renderer runs in a process of its own (this file as a script), because Triton reads TRITON_INTERPRET when imported.
"""

import os
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from handkit.errors import HandkitError
from handkit.render import reference, soft_silhouette
from tests.render.triton_runs import PLACES, compile_for_hopper, drawn_by, run_script

SIZE = (24, 20)
SIGMA = 1.25
OPTICS = {"sigma": SIGMA, "gamma": 0.05, "near": 0.2, "far": 1.5}
SOURCES = ("colors", "texture", "channels")


def scene(*, seed: int = 0, batch: int = 2, faces: int = 30) -> tuple[Tensor, Tensor]:
    """Small triangles on and around the image, [batch, V, 3] and [faces, 3]; neighbours share vertices."""
    random = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, faces, 1, 2, generator=random) * torch.tensor([30.0, 34.0]) - 5
    corners = centre + 2.5 * torch.randn(batch, faces, 3, 2, generator=random)
    depth = 0.3 + torch.rand(batch, faces, 3, 1, generator=random)
    indices = torch.arange(3 * faces).reshape(faces, 3)
    indices[1::2, 0] = indices[::2, 2][: len(indices[1::2])]
    return torch.cat([corners, depth], -1).flatten(1, 2), indices


def awkward() -> tuple[Tensor, Tensor]:
    """One good triangle among faces behind the camera, without area, not finite, huge, far away, and a sliver."""
    good = [[5.0, 6.0, 0.5], [14.0, 7.0, 0.6], [9.0, 15.0, 0.7]]
    behind = [[2.0, 2.0, -0.1], [9.0, 2.0, 0.5], [2.0, 9.0, 0.5]]
    point = [[3.0, 3.0, 0.5]] * 3
    lost = [[2.0, float("nan"), 0.5], [9.0, 2.0, float("inf")], [2.0, 9.0, 0.5]]
    endless = [[1e20, 0.0, 0.5], [0.0, 1e20, 0.5], [-1e30, 3.0, 0.5]]
    far_away = [[4e3, 6.0, 0.5], [4e3, 9.0, 0.5], [5e3, 15.0, 0.5]]
    large = [[-300.0, 20.0, 0.9], [300.0, 21.0, 0.8], [10.0, 500.0, 0.7]]
    sliver = [[1.0, 1.0, 0.4], [19.0, 4.0, 0.4], [10.0, 2.5001, 0.4]]
    corners = torch.tensor([good, behind, point, lost, endless, far_away, large, sliver])
    return corners.reshape(1, -1, 3), torch.arange(3 * len(corners)).reshape(-1, 3)


def scenes() -> dict[str, tuple[Tensor, Tensor]]:
    vertices, faces = scene()
    return {
        "random": (vertices, faces),
        "awkward": awkward(),
        "off the image": (vertices + torch.tensor([500.0, 0.0, 0.0]), faces),
        "many tiles": (torch.tensor([[[-40.0, -40, 1], [60, -40, 0.5], [-40, 80, 0.8]]]), torch.tensor([[0, 1, 2]])),
        "no faces": (vertices, faces[:0]),
        "no meshes": (vertices[:0], faces),
    }


def sources(name: str, batch: int, faces: int) -> dict[str, Tensor | None]:
    random = torch.Generator().manual_seed(3)
    if name == "texture":
        # Past the borders too.
        corner_values = torch.rand(batch, faces, 3, 2, generator=random) * 1.2 - 0.1
        return {"corner_values": corner_values, "texture": torch.rand(batch, 3, 5, 7, generator=random)}
    channels = {"colors": 3, "channels": 4}[name]
    return {"corner_values": torch.rand(batch, faces, 3, channels, generator=random), "texture": None}


def draw(silhouette: Callable[..., Tensor], mesh: tuple[Tensor, Tensor], *, sigma: float = SIGMA) -> list[Tensor]:
    """The silhouette and the gradient of a random weighting of it."""
    vertices, faces = mesh[0].clone().requires_grad_(), mesh[1]
    image = silhouette(vertices, faces, size=SIZE, sigma=sigma)
    grad = torch.zeros_like(vertices)
    if image.requires_grad:  # not where the reference has nothing to draw
        (grad,) = torch.autograd.grad((image * weights(image)).sum(), [vertices])
    return [image.detach().cpu(), grad.cpu()]


def paint(layers: Callable[..., reference.Layers], name: str, device: str, dtype: torch.dtype) -> list[Tensor]:
    """The four layers, and the gradients of a random weighting of them to vertices, values and texture."""
    vertices, faces = (tensor.to(device) for tensor in scene(seed=1, faces=10))
    given = {
        key: value if value is None else value.to(device, dtype).requires_grad_()
        for key, value in sources(name, len(vertices), len(faces)).items()
    }
    vertices = vertices.to(dtype).requires_grad_()
    found = layers(vertices, faces, **given, size=SIZE, **OPTICS)
    # Depth jumps where the last face within reach ends: it is weighted by how much is there.
    found = found._replace(depth=found.depth * found.alpha.detach())
    leaves = [vertices, *(value for value in given.values() if value is not None)]
    grads = torch.autograd.grad(sum((layer * weights(layer)).sum() for layer in found), leaves)
    return [tensor.detach().cpu() for tensor in (*found, *grads)]


def weights(image: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(5)
    return torch.randn(image.shape, generator=random, dtype=torch.float64).to(image)


def compute(device: str) -> dict[str, list[Tensor]]:
    """Everything the tests compare, drawn by the Triton renderer."""
    from handkit.render import triton_soft

    found = {
        name: draw(triton_soft.silhouette, (mesh[0].to(device), mesh[1].to(device))) for name, mesh in scenes().items()
    }
    for name in SOURCES:
        found[name] = paint(triton_soft.layers, name, device, torch.float32)
    if device == "cuda":
        found["random again"] = draw(triton_soft.silhouette, tuple(tensor.to(device) for tensor in scene()))
    return found


@pytest.fixture(scope="module", params=PLACES)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Tensor]]:
    return drawn_by(__file__, request.param, tmp_path_factory.mktemp("triton"))


def check(found: list[Tensor], wanted: list[Tensor], values: int) -> None:
    for position, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
        assert mine.shape == theirs.shape
        if position < values:
            assert (mine - theirs).abs().max() <= 1e-4 if mine.numel() else True, position
        else:
            assert (mine - theirs).norm() <= 1e-3 * theirs.norm(), position


@pytest.mark.parametrize("name", scenes())
def test_silhouette_is_the_reference(drawn: dict[str, list[Tensor]], name: str) -> None:
    vertices, faces = scenes()[name]
    found = drawn[name]
    check(found, draw(reference.silhouette, (vertices.double(), faces)), 1)
    assert all(tensor.isfinite().all() for tensor in found)


def test_scenes_show_something() -> None:
    for name in ("random", "awkward"):
        image, grad = draw(reference.silhouette, scenes()[name])
        assert ((image > 0.1) & (image < 0.9)).sum() > 20
        assert grad.norm() > 0.1


def test_gradients_repeat(drawn: dict[str, list[Tensor]]) -> None:
    if "random again" not in drawn:
        pytest.skip("the interpreter runs programs one after another")
    assert torch.equal(drawn["random"][1], drawn["random again"][1])


@pytest.mark.parametrize("name", SOURCES)
def test_color_is_the_reference(drawn: dict[str, list[Tensor]], name: str) -> None:
    check(drawn[name], paint(reference.layers, name, "cpu", torch.float64), 4)


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter takes tensors on the CPU")
def test_tensor_not_on_a_gpu_is_refused() -> None:
    pytest.importorskip("triton")
    vertices, faces = scene()
    with pytest.raises(HandkitError, match="got a tensor on cpu"):
        soft_silhouette(vertices, faces, size=SIZE, sigma=SIGMA, backend="cuda")


def build() -> None:
    """Compile every kernel for a GPU of compute capability 9.0, whether or not there is one."""
    from handkit.render import triton_color, triton_kernels, triton_soft

    tile = {"TILE": triton_soft.TILE}
    builds = [(triton_kernels.bin_faces, {**tile, "BLOCK": triton_soft.BIN_BLOCK, "FILL": fill}) for fill in (0, 1)]
    builds.append((triton_kernels.silhouette_forward, {**tile, "BLOCK": triton_soft.BLOCK}))
    builds.append((triton_kernels.silhouette_backward, {"PATCH": triton_soft.PATCH}))
    for textured in (False, True):
        builds.append((triton_color.color_forward, {"TEXTURED": textured, **tile, "BLOCK": triton_soft.COLOR_BLOCK}))
        builds.append((triton_color.color_backward, {"TEXTURED": textured, "PATCH": triton_soft.PATCH}))
    integers = ("count", "pairs", "tiles", "tiles_x", "height", "width", "pixels", "texels_y", "texels_x")
    floats = ("inverse_sigma", "inverse_gamma", "cut", "near", "far", "farthest", "least")
    pointers = {"starts": "*i64", "members": "*i32", "reach": "*i32"}
    for kernel, constants in builds:
        types = {name: pointers.get(name, "*fp32") for name in kernel.arg_names}
        types |= {name: "i32" for name in types if name.endswith(integers)}
        types |= dict.fromkeys(set(floats) & set(types), "fp32") | dict.fromkeys(constants, "constexpr")
        compile_for_hopper(kernel, types, constants)


@pytest.mark.slow
def test_kernels_compile_without_a_gpu() -> None:
    """The interpreter runs what the compiler refuses."""
    pytest.importorskip("triton")
    run_script(__file__, False, "build")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "build":
        build()
    else:
        torch.save(compute(sys.argv[1]), sys.argv[2])
