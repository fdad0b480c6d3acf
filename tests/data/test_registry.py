from pathlib import Path

import pytest

from handkit.data.registry import DATASETS, build_dataset
from handkit.errors import HandkitError


def test_every_data_set_takes_root_and_split_and_says_what_it_misses(tmp_path: Path) -> None:
    assert {"freihand", "ho3d", "stb", "rhd"} <= set(DATASETS)
    for name in ("freihand", "ho3d", "stb", "rhd"):
        with pytest.raises(HandkitError, match="nowhere does not exist") as caught:
            build_dataset(name, tmp_path / "nowhere")
        assert "give the folder that holds" in caught.value.fix
        (tmp_path / "file").write_text("")
        with pytest.raises(HandkitError, match="file is not a folder"):
            build_dataset(name, tmp_path / "file")
        with pytest.raises(HandkitError, match=r"no such split of .*: 'middle'"):
            build_dataset(name, tmp_path, "middle")


def test_near_names_are_suggested(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="no such data set: 'freihnd'") as caught:
        build_dataset("freihnd", tmp_path)
    assert "did you mean freihand?" in caught.value.fix
    assert "stb" in caught.value.fix
    with pytest.raises(HandkitError, match="no such option of stb: 'camara'") as caught:
        build_dataset("stb", tmp_path, camara="SK")
    assert "did you mean camera?" in caught.value.fix
