"""Hand files to read: random numbers in MANO's layout, side by side with the open hand's."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from handkit.conventions import MANO_PARENTS
from handkit.hand import HandModel, load_hand


def build_mano_dict(hand: HandModel) -> dict[str, Any]:
    """What a MANO file holds, as plain arrays and a sparse regressor."""
    parents = np.array([2**32 - 1, *MANO_PARENTS[1:]], dtype=np.uint32)
    return {
        "v_template": hand.v_template,
        "shapedirs": hand.shapedirs,
        "posedirs": hand.posedirs,
        "J_regressor": scipy.sparse.csc_matrix(hand.J_regressor),
        "weights": hand.lbs_weights,
        "kintree_table": np.stack([parents, np.arange(16, dtype=np.uint32)]),
        "f": hand.faces.astype(np.uint32),
        "hands_mean": hand.hands_mean,
        "hands_components": hand.hands_components,
        "J": hand.J_regressor @ hand.v_template,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture
def mano_dict() -> dict[str, Any]:
    return build_mano_dict(load_hand("open"))


@pytest.fixture
def write_pickle(tmp_path: Path) -> Callable[..., Path]:
    def write(held: object, name: str = "MANO_RIGHT.pkl", protocol: int = 2) -> Path:
        path = tmp_path / name
        path.write_bytes(pickle.dumps(held, protocol=protocol))
        return path

    return write


@pytest.fixture(scope="session")
def mano_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the open hand as MANO_RIGHT.pkl, and its mirror image, with MANO's fault, as MANO_LEFT.pkl."""
    folder = tmp_path_factory.mktemp("mano")
    right = load_hand("open")
    left = build_mano_dict(right.mirrored())
    left["shapedirs"] = left["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]
    (folder / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(build_mano_dict(right), protocol=2))
    (folder / "MANO_LEFT.pkl").write_bytes(pickle.dumps(left, protocol=2))
    return folder
