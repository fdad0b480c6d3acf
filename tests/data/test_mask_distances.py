import numpy as np
import pytest
import torch

from handkit.data.mask_distances import distances_on_device, mask_distances


@pytest.mark.parametrize("size", [(17, 33), (40, 12)])
def test_distances_to_the_nearest_pixel(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((2, 3, *size)) < 0.02).astype(np.uint8)
    masks[1, 2] = 0
    masks[1, 1] = 1
    masks[0, 0] = 0
    masks[0, 0, 0, 5] = 1
    found, ours = mask_distances(torch.from_numpy(masks)), distances_on_device(torch.from_numpy(masks))
    assert found.dtype == ours.dtype == torch.float32
    rows, columns = np.mgrid[: size[0], : size[1]]
    for at in np.ndindex(2, 3):
        y, x = np.nonzero(masks[at])
        ways = np.hypot(rows[..., None] - y, columns[..., None] - x)
        right = ways.min(-1) if len(y) else np.zeros(size)
        np.testing.assert_allclose(found[at], right, atol=1e-4)
    torch.testing.assert_close(found, ours, atol=1e-5, rtol=0)  # torch rounds roots otherwise than numpy
