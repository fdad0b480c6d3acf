"""The pipeline on tiny inputs: what is written, what is skipped, what is reported."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import handkit.demo.stills as stills
import handkit.demo.videos as videos
from handkit.demo.clip import score_clip
from handkit.demo.options import DemoOptions
from handkit.demo.run import DemoResult, run_demo
from handkit.errors import HandkitError
from handkit.export.predictions import load_predictions
from handkit.hand import ManoLayer, load_hand
from handkit.images import RgbImage, read_image, write_image
from handkit.video import Frame, VideoReader, VideoWriter

PLAIN = DemoOptions(overlay=False)


def run(out: Path, *inputs: Path, options: DemoOptions = PLAIN, force: bool = False) -> tuple[DemoResult, list[str]]:
    errors: list[str] = []
    names = [str(path) for path in inputs]
    result = run_demo(names, out, options, force=force, on_error=lambda error: errors.append(error.what), debug=True)
    return result, errors


def statuses(result: DemoResult) -> dict[str, str]:
    return {Path(record.input).name: record.status for record in result.records}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_stills_share_one_file_and_bad_ones_are_reported(photos: Path, tmp_path: Path) -> None:
    result, errors = run(tmp_path / "out", photos, options=DemoOptions())
    assert result.exit_code == 1
    assert statuses(result) == {"broken.jpg": "failed", "hand.jpg": "done", "plain.png": "no hand"}
    assert len(errors) == 1
    assert "broken.jpg is damaged" in errors[0]
    written = {"summary.json", "photos/hands.npz", "photos/done.json"}
    assert files(tmp_path / "out") == written | {"photos/overlay/hand.jpg", "photos/overlay/plain.png.jpg"}
    rows = load_predictions(tmp_path / "out/photos/hands.npz")
    assert rows.image.tolist() == ["hand.jpg"]
    assert [text.split(":")[0] for text in rows.status] == ["failed", "done", "no hand"]
    assert rows.is_right.all()
    assert rows.camera_source.startswith("default")
    drawn = read_image(tmp_path / "out/photos/overlay/hand.jpg")
    assert drawn.shape == read_image(photos / "hand.jpg").shape
    assert np.abs(drawn.astype(int) - read_image(photos / "hand.jpg")).max() > 60


def test_a_second_run_does_only_what_changed(photos: Path, tmp_path: Path, hand_picture: RgbImage) -> None:
    out = tmp_path / "out"
    (photos / "broken.jpg").unlink()
    run(out, photos)
    before = load_predictions(out / "photos/hands.npz")
    stamp = (out / "photos/hands.npz").stat().st_mtime_ns
    again, _ = run(out, photos)
    assert all(record.skipped for record in again.records)
    assert (out / "photos/hands.npz").stat().st_mtime_ns == stamp
    write_image(photos / "third.jpg", np.ascontiguousarray(hand_picture[:, ::-1]))
    grown, _ = run(out, photos)
    assert {Path(record.input).name: record.skipped for record in grown.records} == {
        "hand.jpg": True,
        "plain.png": True,
        "third.jpg": False,
    }
    rows = load_predictions(out / "photos/hands.npz")
    assert rows.image.tolist() == ["hand.jpg", "third.jpg"]
    assert rows.is_right.tolist() == [True, False]
    np.testing.assert_array_equal(rows.joints_3d[:1], before.joints_3d)
    write_image(photos / "hand.jpg", hand_picture[:200, :200])
    assert not run(out, photos)[0].records[0].skipped
    assert not any(record.skipped for record in run(out, photos, force=True)[0].records)
    assert not any(record.skipped for record in run(out, photos, options=replace(PLAIN, focal=500.0))[0].records)


def test_images_named_one_by_one_join_what_their_folder_has(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, photos / "plain.png")
    run(out, photos / "hand.jpg")
    rows = load_predictions(out / "photos/hands.npz")
    assert [Path(name).name for name in rows.inputs] == ["hand.jpg", "plain.png"]


def test_an_interruption_keeps_what_is_done(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hand_picture: RgbImage
) -> None:
    for i in range(3):
        write_image(photos / f"x{i}.png", hand_picture)
    (photos / "broken.jpg").unlink()

    def read_or_stop(path: Path) -> RgbImage:
        if path.name == "x1.png":
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr(stills, "_BATCH_IMAGES", 1)
    monkeypatch.setattr(stills, "read_image", read_or_stop)
    stopped, _ = run(tmp_path / "out", photos)
    assert stopped.exit_code == 130
    assert statuses(stopped) == {
        "hand.jpg": "done",
        "plain.png": "no hand",
        "x0.png": "done",
        "x1.png": "not done",
        "x2.png": "not done",
    }
    assert json.loads((tmp_path / "out/summary.json").read_text())["interrupted"]
    monkeypatch.undo()
    resumed, _ = run(tmp_path / "out", photos)
    assert resumed.exit_code == 0
    assert [record.skipped for record in resumed.records] == [True, True, True, False, False]
    assert len(load_predictions(tmp_path / "out/photos/hands.npz")) == 4


def test_video(hand_clip: Path, tmp_path: Path) -> None:
    options = DemoOptions(side_view=True, export=("glb", "obj", "json"), vertices=True, K=(620, 620, 320, 240))
    result, errors = run(tmp_path, hand_clip, options=options)
    assert not errors
    assert result.exit_code == 0
    (record,) = result.records
    assert (record.frames, record.hands, record.tracks, record.camera_source) == (8, 8, 1, "--K")
    expected = {"hands.npz", "hands.json", "hands.glb", "overlay.mp4", "done.json"}
    assert files(tmp_path / "clip") == expected | {f"meshes/{frame:06d}_0_right.obj" for frame in range(8)}
    rows = load_predictions(tmp_path / "clip/hands.npz")
    np.testing.assert_array_equal(rows.frame, np.arange(8))
    assert len(np.unique(rows.betas, axis=0)) == 1
    assert rows.vertices is not None
    drawn = VideoReader(tmp_path / "clip/overlay.mp4")
    assert drawn.size == (640 + 480, 480)
    assert len(list(drawn)) == 8
    (tmp_path / "clip/truth.npz").write_bytes((hand_clip.parent / "truth.npz").read_bytes())
    score = score_clip(tmp_path / "clip")
    assert score.detection_rate == 1
    assert score.pa_mpjpe_mm < 10
    assert score.error_2d_px < 12


def test_left_rows_rebuild_their_vertices(hand_picture: RgbImage, tmp_path: Path) -> None:
    write_image(tmp_path / "left.png", np.ascontiguousarray(hand_picture[:, ::-1]))
    run(tmp_path / "out", tmp_path / "left.png", options=replace(PLAIN, vertices=True))
    rows = load_predictions(tmp_path / "out" / tmp_path.name / "hands.npz")
    assert rows.is_right.tolist() == [False]
    names = ("global_orient", "hand_pose", "betas", "transl")
    output = ManoLayer(load_hand("open", "left"))(**{name: torch.from_numpy(getattr(rows, name)) for name in names})
    np.testing.assert_allclose(output.vertices.numpy(), rows.vertices, atol=1e-6)
    np.testing.assert_allclose(output.joints.numpy(), rows.joints_3d, atol=1e-6)


def test_start_end_and_stride(hand_clip: Path, tmp_path: Path) -> None:
    options = replace(PLAIN, start=0.05, end=0.25, stride=2)
    result, _ = run(tmp_path, hand_clip, options=options)
    assert result.records[0].frames == 3
    np.testing.assert_array_equal(load_predictions(tmp_path / "clip/hands.npz").frame, [2, 4, 6])
    late, errors = run(tmp_path, hand_clip, options=replace(PLAIN, start=100.0))
    assert late.exit_code == 1
    assert "no frame from 100 s on" in errors[0]


def test_rotation_turns_input_and_camera_is_of_the_turned_image(hand_picture: RgbImage, tmp_path: Path) -> None:
    write_image(tmp_path / "upright.png", hand_picture)
    write_image(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(hand_picture)))
    K = (620.0, 620.0, 320.0, 240.0)
    run(tmp_path / "a", tmp_path / "upright.png", options=replace(PLAIN, K=K))
    run(tmp_path / "b", tmp_path / "turned.png", options=replace(PLAIN, K=K, rotate=90))
    a, b = (load_predictions(tmp_path / name / tmp_path.name / "hands.npz") for name in "ab")
    assert b.image_size.tolist() == [[640, 480]]
    np.testing.assert_allclose(a.joints_3d, b.joints_3d, atol=1e-4)


def test_only_the_wanted_side_is_kept(hand_picture: RgbImage, hand_clip: Path, tmp_path: Path) -> None:
    near = hand_picture[50:400, 360:640]
    write_image(tmp_path / "both.png", np.concatenate([near[:, ::-1], near], axis=1))
    name = f"{tmp_path.name}/hands.npz"
    run(tmp_path / "l", tmp_path / "both.png", options=replace(PLAIN, hands="left", max_hands=1))
    assert load_predictions(tmp_path / "l" / name).is_right.tolist() == [False]
    run(tmp_path / "b", tmp_path / "both.png")
    assert sorted(load_predictions(tmp_path / "b" / name).is_right.tolist()) == [False, True]
    result, _ = run(tmp_path / "v", hand_clip, options=replace(PLAIN, hands="left"))
    assert result.records[0].status == "no hand"
    assert len(load_predictions(tmp_path / "v/clip/hands.npz")) == 0


def test_damaged_video_keeps_the_frames_before_the_damage(hand_clip: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "long.mp4", crf=30) as writer:
        images = [frame.image for frame in VideoReader(hand_clip)]
        for i in range(60):
            writer.write(images[i % 8 if i % 16 < 8 else 7 - i % 8])
    whole = (tmp_path / "long.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    result, errors = run(tmp_path / "out", tmp_path / "cut.mp4")
    assert result.exit_code == 1
    (record,) = result.records
    assert record.status == "damaged"
    assert len(errors) == 1
    assert 10 < record.frames < 60
    rows = load_predictions(tmp_path / "out/cut/hands.npz")
    assert len(rows) == record.hands > 10
    assert rows.status[0].startswith("damaged: ")
    again, _ = run(tmp_path / "out", tmp_path / "cut.mp4")
    assert again.records[0].skipped
    assert again.exit_code == 1


def test_given_boxes_and_keypoints(hand_picture: RgbImage, hand_clip: Path, tmp_path: Path) -> None:
    with np.load(hand_clip.parent / "truth.npz") as truth:
        joints_2d, joints_3d = truth["joints_2d"], truth["joints_3d"]
    write_image(tmp_path / "hand.png", hand_picture)
    low, high = joints_2d[0].min(0), joints_2d[0].max(0)
    boxes = {"hand.png": [[*low.tolist(), *(high - low).tolist(), "right"]], "0": []}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    name = f"{tmp_path.name}/hands.npz"
    run(tmp_path / "b", tmp_path / "hand.png", options=replace(PLAIN, bbox=tmp_path / "boxes.json"))
    found = load_predictions(tmp_path / "b" / name)
    assert np.abs(found.keypoints_2d[0] - joints_2d[0]).mean() < 0.05 * (high - low).max()
    np.save(tmp_path / "keypoints.npy", joints_2d)
    options = replace(PLAIN, keypoints=tmp_path / "keypoints.npy", K=(620.0, 620.0, 320.0, 240.0))
    run(tmp_path / "k", hand_clip, options=options)
    rows = load_predictions(tmp_path / "k/clip/hands.npz")
    np.testing.assert_allclose(rows.keypoints_2d, joints_2d, atol=1e-3)
    assert np.abs(rows.joints_2d - joints_2d).mean() < 4
    assert rows.method == "given keypoints + fit"
    assert np.linalg.norm(rows.joints_3d - joints_3d, axis=-1).mean() < 0.08


def test_joints_file(hand_clip: Path, tmp_path: Path) -> None:
    with np.load(hand_clip.parent / "truth.npz") as truth:
        joints = truth["joints_3d"].copy()
    joints[2, 5] = np.nan
    np.save(tmp_path / "mine.npy", joints)
    result, _ = run(tmp_path / "out", tmp_path / "mine.npy", options=replace(PLAIN, export=("glb",)))
    (record,) = result.records
    assert (record.status, record.frames, record.hands) == ("done", 8, 7)
    assert record.fit_error_mm is not None
    assert record.fit_error_mm < 4
    rows = load_predictions(tmp_path / "out/mine/hands.npz")
    assert rows.frame.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert np.isnan(rows.joints_2d).all()
    assert np.isnan(rows.keypoints_2d).all()
    assert (tmp_path / "out/mine/hands.glb").is_file()
    assert run(tmp_path / "out", tmp_path / "mine.npy", options=replace(PLAIN, export=("glb",)))[0].records[0].skipped


class RecordedWebcam:
    """Stands for a camera: the clip's frames."""

    clip: Path

    def __init__(self, device: int, *, duration_s: float | None, rotate: int) -> None:
        self.asked = (device, duration_s, rotate)
        self.reader = VideoReader(self.clip, rotate=rotate)
        self.fps, self.frame_count, self.is_closed = 30.0, 8, False

    def __iter__(self) -> Iterator[Frame]:
        assert self.asked == (1, 0.3, 0)
        yield from self.reader
        # Nobody waits for the end: Ctrl-C ends the recording, not the run.
        raise KeyboardInterrupt

    def close(self) -> None:
        self.is_closed = True


def test_webcam_is_recorded_then_done_like_a_video(
    hand_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RecordedWebcam.clip = hand_clip
    monkeypatch.setattr(videos, "WebcamReader", RecordedWebcam)
    options = replace(PLAIN, duration=0.3)
    result, errors = run(tmp_path, Path("webcam:1"), options=options)
    assert not errors
    (record,) = result.records
    assert (record.input, record.kind, record.status, record.frames, record.hands) == (
        "webcam:1",
        "webcam",
        "done",
        8,
        8,
    )
    assert (tmp_path / "webcam1/recording.mp4").is_file()
    refused, errors = run(tmp_path, Path("webcam:1"), options=options)
    assert refused.exit_code == 1
    assert "holds an earlier recording" in errors[0]


def test_a_bug_fails_its_input_only(
    photos: Path, hand_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(videos, "fit_over_time", fail)
    errors: list[str] = []
    inputs = [str(photos / "hand.jpg"), str(hand_clip)]
    result = run_demo(inputs, tmp_path / "out", PLAIN, on_error=lambda error: errors.append(error.what))
    assert statuses(result) == {"hand.jpg": "done", "clip.mp4": "failed"}
    assert "unexpected ZeroDivisionError: surprise" in errors[0]
    with pytest.raises(ZeroDivisionError):
        run_demo(inputs, tmp_path / "out", PLAIN, debug=True)


def test_what_concerns_all_inputs_raises(photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(HandkitError, match="cannot write"):
        run(blocked / "out", photos)
    with pytest.raises(HandkitError, match="no such box file"):
        run(tmp_path / "out", photos, options=replace(PLAIN, bbox=tmp_path / "none.json"))
    with pytest.raises(HandkitError, match="no such file or folder of keypoints"):
        run(tmp_path / "out", photos, options=replace(PLAIN, keypoints=tmp_path / "none.npy"))


def test_real_photo_of_two_left_hands(realdata: Path, tmp_path: Path) -> None:
    result, _ = run(tmp_path, realdata / "photos/two_left_hands_up_down.jpg")
    assert result.exit_code == 0
    rows = load_predictions(tmp_path / "photos/hands.npz")
    assert rows.is_right.tolist() == [False, False]
    size = np.ptp(rows.keypoints_2d, axis=1).max(1)
    assert (np.linalg.norm(rows.joints_2d - rows.keypoints_2d, axis=-1).mean(1) < 0.05 * size).all()
