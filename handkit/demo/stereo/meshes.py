"""meshes.npz: the meshes that a method recovered from both views, as they are and not as parameters have them.

| array | shape | |
|---|---|---|
| frame, track_id, is_right | [N] | of the rows of right/hands.npz that belong to them |
| vertices | [N, 778, 3] | m, in the right view's own camera |
| gap_px | [N] | pixels of the right picture by which the rays of a vertex pass each other, the median |
"""

from pathlib import Path
from typing import Final

import numpy as np

from handkit.demo.stereo.solving import Solved
from handkit.files import atomic_path

PAIR_MESHES: Final = "meshes.npz"


def write_pair_meshes(folder: Path, solved: Solved) -> None:
    """The meshes of the hands of both views, where the method recovers any."""
    fused = solved.fused
    if fused.meshes is None:
        # An earlier run's would be of other hands.
        (folder / PAIR_MESHES).unlink(missing_ok=True)
        return
    rows = solved.rows[1].rows(np.array([one.right for one in fused.met], np.int64))
    with atomic_path(folder / PAIR_MESHES) as partial, partial.open("wb") as file:
        np.savez(
            file,
            frame=rows.frame,
            track_id=rows.track_id,
            is_right=rows.is_right,
            vertices=fused.meshes.vertices.astype(np.float32),
            gap_px=fused.meshes.gap_px.astype(np.float32),
        )
