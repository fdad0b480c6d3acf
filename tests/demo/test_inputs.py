from pathlib import Path

import pytest

from handkit.demo.inputs import find_units


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def named(root: Path, *arguments: str, out: str = "out") -> dict[str, list[str]]:
    units, failures = find_units([str(root / argument) for argument in arguments], root / out)
    assert not failures
    return {unit.name: [path.name for path in unit.paths] for unit in units}


def test_folder_is_read_recursively_and_stills_share_a_unit(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "in/b.jpg",
        "in/a.PNG",
        "in/clip.mp4",
        "in/sub/c.jpeg",
        "in/sub/d.MOV",
        "in/notes.txt",
        "in/.hidden.jpg",
    )
    assert named(tmp_path, "in") == {
        "clip": ["clip.mp4"],
        "in": ["a.PNG", "b.jpg"],
        "sub": ["c.jpeg"],
        "sub/d": ["d.MOV"],
    }


def test_same_names_in_different_folders_do_not_collide(tmp_path: Path) -> None:
    touch(tmp_path, "x/clip.mp4", "y/clip.mp4", "x/a.jpg", "y/a.jpg")
    assert set(named(tmp_path, "x", "y")) == {"x", "y", "x/clip", "y/clip"}
    assert set(named(tmp_path, "x/clip.mp4", "y/clip.mp4")) == {"x/clip", "y/clip"}


def test_names_stay_apart_when_stems_or_folders_agree(tmp_path: Path) -> None:
    touch(
        tmp_path, "in/clip.mp4", "in/clip.mov", "in/sub.mp4", "in/sub/a.jpg", "in/b.jpg", "in/in/c.jpg", "in/solo.avi"
    )
    assert named(tmp_path, "in") == {
        "clip.mov": ["clip.mov"],
        "clip.mp4": ["clip.mp4"],
        "in": ["c.jpg"],
        "in.images": ["b.jpg"],
        "solo": ["solo.avi"],
        "sub": ["a.jpg"],
        "sub.mp4": ["sub.mp4"],
    }


def test_names_do_not_depend_on_the_order_of_arguments(tmp_path: Path) -> None:
    touch(tmp_path, "x/clip.mp4", "y/clip.mp4", "y/clip.mov")
    arguments = ["x/clip.mp4", "y/clip.mp4", "y/clip.mov"]
    assert named(tmp_path, *arguments) == named(tmp_path, *reversed(arguments))


def test_an_input_named_twice_is_done_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/clip.mp4")
    (tmp_path / "in" / "link.mp4").symlink_to(tmp_path / "in" / "clip.mp4")
    assert sum(map(len, named(tmp_path, "in", "in/clip.mp4").values())) == 1


def test_results_among_the_inputs_are_not_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/a/hands.npz", "out/a/overlay/a.jpg", "old/a/hands.npz", "old/a/overlay/a.jpg")
    touch(tmp_path, "old/clip/hands.npz", "old/clip/overlay.mp4", "overlay/kept.jpg")
    root = tmp_path.name
    assert named(tmp_path, "") == {root: ["a.jpg"], "overlay": ["kept.jpg"]}


def test_globs_are_expanded(tmp_path: Path) -> None:
    touch(tmp_path, "a1.mp4", "a2.mp4", "b.mp4", "deep/er/c.mp4", "odd[1].mp4", "a3.txt")
    assert set(named(tmp_path, "a*")) == {"a1", "a2"}
    assert "deep/er/c" in named(tmp_path, "**/*.mp4")
    assert set(named(tmp_path, "odd[1].mp4")) == {"odd[1]"}


def test_joints_files_count_only_when_named(tmp_path: Path) -> None:
    touch(tmp_path, "in/hand.npy", "in/cameras.json", "in/a.jpg")
    assert set(named(tmp_path, "in")) == {"in"}
    assert set(named(tmp_path, "in/hand.npy")) == {"hand"}


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("missing", "no such file or folder"),
        ("empty", "no images or videos in this folder"),
        ("notes.txt", ".txt is no image, video or joints file"),
        ("*.avi", "no image, video or joints file matches"),
        ("webcam:front", "no such webcam"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, what: str) -> None:
    touch(tmp_path, "notes.txt", "good.mp4")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    units, failures = find_units([argument, "good.mp4"], tmp_path / "out")
    assert [unit.name for unit in units] == ["good"]
    assert len(failures) == 1
    assert what in failures[0].error.what
    assert argument in failures[0].error.what
    assert failures[0].error.fix


def test_webcam_is_a_unit(tmp_path: Path) -> None:
    units, failures = find_units(["webcam:1"], tmp_path)
    assert not failures
    assert [(unit.kind, unit.name) for unit in units] == [("webcam", "webcam1")]
