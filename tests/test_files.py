"""Atomic writing: all or nothing, and clear errors."""

import errno
import os
from pathlib import Path

import pytest

from handkit.errors import HandkitError
from handkit.files import atomic_path, check_writable


def test_file_appears_complete_and_folders_are_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "x.txt"
    with atomic_path(target) as partial:
        partial.write_text("whole")
        assert partial.suffix == ".txt"
        assert partial.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["x.txt"]


def _write_half_and_fail(target: Path, error: BaseException) -> None:
    with atomic_path(target) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(type(error)):
        _write_half_and_fail(target, error)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_block_that_writes_nothing_makes_no_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HandkitError, match="cannot write") as caught, atomic_path(tmp_path / "file" / "x.txt"):
        pass
    assert "folder" in caught.value.fix


def test_target_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="is a folder"), atomic_path(tmp_path):
        pass


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not bind root, so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HandkitError, match="permission denied"):
        check_writable(tmp_path)


@pytest.mark.parametrize(("code", "text"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_system_errors_inside_the_block(tmp_path: Path, code: int, text: str) -> None:
    with pytest.raises(HandkitError, match=text):
        _write_half_and_fail(tmp_path / "x", OSError(code, os.strerror(code)))
    assert os.listdir(tmp_path) == []


def test_other_system_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="pipe"), atomic_path(tmp_path / "x"):
        raise BrokenPipeError(errno.EPIPE, "broken pipe")


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_check_writable_names_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(HandkitError, match="out: it is a file"):
        check_writable(tmp_path / "out")
