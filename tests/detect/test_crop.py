import cv2
import numpy as np
import pytest
import torch

from handkit.detect.crop import crop_from_image, crop_image, square_box
from handkit.errors import HandkitError
from handkit.geometry.cameras import project


def test_square_box_is_2_2_times_the_longer_side_about_the_centre() -> None:
    np.testing.assert_allclose(square_box(np.array([10.0, 20, 30, 60])), [-24, -4, 64, 84])


@pytest.mark.parametrize("bbox", [[5, 5, 5, 5], [9, 9, 1, 1], [0, 0, np.nan, 4]])
def test_empty_box_is_an_error(bbox: list[float]) -> None:
    with pytest.raises(HandkitError, match="is empty"):
        square_box(np.array(bbox, float))


def test_crop_without_resize_copies_pixels_and_blackens_the_outside() -> None:
    image = np.random.default_rng(0).integers(1, 255, (12, 16, 3), dtype=np.uint8)
    crop = crop_image(image, np.array([-2.0, 3, 8, 13]), 10)
    np.testing.assert_array_equal(crop[:9, 2:], image[3:12, :8])
    assert not crop[:, :2].any()
    assert not crop[9:].any()


def test_points_follow_the_pixels_of_a_shrinking_and_a_growing_crop() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    spot = np.array([83.0, 121.0])
    yy, xx = np.mgrid[:200, :200] + 0.5
    image[..., 0] = 255 * np.exp(-((xx - spot[0]) ** 2 + (yy - spot[1]) ** 2) / 50)
    for box, size in ((np.array([20.0, 40, 180, 200]), 64), (np.array([60.0, 100, 110, 150]), 224)):
        crop = crop_image(image, box, size)[..., 0].astype(float)
        rows, columns = np.mgrid[:size, :size] + 0.5
        centroid = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
        expected = (crop_from_image(box, size) @ [*spot, 1])[:2]
        np.testing.assert_allclose(centroid, expected, atol=0.1)


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = crop_image(stripes, np.array([0.0, 0, 256, 256]), 32)
    assert abs(float(crop[4:-4, 4:-4].mean()) - 127.5) < 10
    assert crop[4:-4, 4:-4].std() < 20
    assert cv2.resize(stripes, (32, 32), interpolation=cv2.INTER_NEAREST).std() == 0


def test_camera_of_the_crop_projects_where_the_points_went() -> None:
    K = torch.tensor([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]], dtype=torch.float64)
    points = torch.tensor([[0.1, -0.05, 0.6], [-0.2, 0.1, 0.9]], dtype=torch.float64)
    matrix = torch.from_numpy(crop_from_image(np.array([100.0, 50, 300, 250]), 128))
    full = torch.cat([project(points, K), torch.ones(2, 1, dtype=torch.float64)], 1)
    torch.testing.assert_close(project(points, matrix @ K), (full @ matrix.T)[:, :2])
