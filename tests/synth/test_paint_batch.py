"""Batches of tensors come out as one picture after another does."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handkit.hand import load_hand
from handkit.render.shaded import vertex_normals
from handkit.synth.appearance import Light
from handkit.synth.paint import Layer, paint
from handkit.synth.paint_batch import paint_batch

SIZE = (80, 96)
LIGHTS = [
    Light(ambient=0.3, diffuse=0.8, direction=(-0.4, -0.6, -0.7), color=(1.0, 1.0, 1.0), sheen=0.05),
    None,
    Light(ambient=0.15, diffuse=1.0, direction=(0.8, 0.1, -0.3), color=(1.05, 1.0, 0.9), sheen=0.2),
]


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"))],
)
@pytest.mark.parametrize("perspective", [False, True])
def test_equals_paint(device: str, perspective: bool) -> None:
    hand, rng = load_hand("open"), np.random.default_rng(3)
    backgrounds = rng.integers(0, 256, (3, *SIZE, 3)).astype(np.uint8)
    colors = np.clip(hand.vertex_colors * rng.uniform(0.5, 1.2, (3, 1, 3)), 0, 1)
    face_labels = np.where(hand.faces.min(1) < 300, 128, 255).astype(np.uint8)
    points, normals = [], []
    for _ in range(3):
        turn = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
        vertices = (hand.v_template - hand.v_template.mean(0)) @ turn.T
        points.append(np.column_stack([vertices[:, :2] * 420 + [50, 40], vertices[:, 2] + perspective * 0.4]))
        normals.append(vertex_normals(vertices, hand.faces.astype(np.int32))[0])
    arrays = (backgrounds, np.stack(points), np.stack(normals), colors, hand.faces, face_labels)
    images, labels = paint_batch(
        *(torch.tensor(array, device=device) for array in arrays),
        lights=LIGHTS,
        perspective=perspective,
    )
    for t, light in enumerate(LIGHTS):
        # The labels belong to parts of one mesh, so that they are two layers of the same points.
        parts = [
            Layer(points[t], normals[t], hand.faces[face_labels == label], colors[t], label) for label in (128, 255)
        ]
        image, label = paint(backgrounds[t], parts, light=light, perspective=perspective)
        assert (labels[t].cpu().numpy() != label).mean() < 1e-3
        difference = np.abs(images[t].cpu().numpy().astype(int) - image)
        assert difference.mean() < 0.05
        assert (difference > 2).mean() < 2e-3
        assert (label == 255).mean() > 0.05
        assert (label == 128).mean() > 0.02
