"""OBJ and PLY files as trimesh reads them."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from handkit.errors import HandkitError
from handkit.export.mesh import write_mesh
from handkit.hand.model import load_hand


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".OBJ"])
@pytest.mark.parametrize("colored", [False, True])
def test_other_software_reads_the_same(tmp_path: Path, suffix: str, colored: bool) -> None:
    hand = load_hand("open")
    vertices = hand.v_template + np.array([0.1, -0.2, 0.6])
    colors = np.random.default_rng(0).uniform(size=(778, 3)) if colored else None
    path = tmp_path / f"hand{suffix}"
    write_mesh(path, vertices, hand.faces, vertex_colors=colors)
    mesh = trimesh.load(path, process=False)
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, hand.faces)
    if colors is not None:
        np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, colors, atol=1 / 255)


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match=r"hand\.fbx"):
        write_mesh(tmp_path / "hand.fbx", np.zeros((3, 3)), np.array([[0, 1, 2]]))
    assert list(tmp_path.iterdir()) == []
