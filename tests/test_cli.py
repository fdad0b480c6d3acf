"""The command line end to end: exit codes, what goes to stdout and stderr, texts of errors."""

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from handkit import __version__
from handkit.demo.clip import make_clip
from handkit.demo.options import DemoOptions
from handkit.images import write_image
from handkit_cli import app
from tests.command import handkit

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "handkit" / "recipes"
HANDKIT = [sys.executable, "-c", "from handkit_cli import app; app()"]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An image without hands."""
    write_image(tmp_path / "in" / "plain.png", np.full((120, 160, 3), 90, np.uint8))
    return tmp_path / "in" / "plain.png"


def test_version() -> None:
    assert handkit("--version") == (0, f"handkit {__version__}\n", "")


def test_help_names_every_option_once_with_its_default() -> None:
    code, stdout, _ = handkit("demo", "--help")
    assert code == 0
    assert "handkit demo video.mp4" in stdout
    command = typer.main.get_command(app).commands["demo"]  # type: ignore[attr-defined]
    for parameter in command.params:
        assert parameter.name == "inputs" or parameter.opts[0] in stdout
        assert parameter.help, parameter.name
    assert stdout.count("default: ") >= 10


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, handkit_cli; print([n for n in ('torch', 'numpy', 'cv2', 'rich.table') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


def test_help_has_no_colour_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[\d;]*3\d")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour.search(handkit("demo", "--help")[1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(handkit("demo", "--help")[1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-such-option"], "No such option"),
        (["--K", "1,2,3"], "four numbers"),
        (["--K", "0,1,2,3"], "above 0"),
        (["--focal", "-3"], "not above 0"),
        (["--export", "stl"], "choose among"),
        (["--min-score", "2"], "less than or equal to 1"),
        (["--stride", "0"], "greater than or equal to 1"),
        (["--hands", "third"], "third"),
        (["--rotate", "45"], "45"),
        (["--start", "5", "--end", "2"], "not after"),
        (["--focal", "500", "--K", "1,1,1,1"], "exclude each other"),
        (["--bbox", "a", "--keypoints", "b"], "exclude each other"),
    ],
)
def test_bad_command_lines_exit_2(arguments: list[str], said: str) -> None:
    code, stdout, stderr = handkit("demo", *arguments)
    assert (code, stdout) == (2, "")
    assert said in re.sub(r"[\s│]+", " ", stderr)


def test_options_reach_the_run(plain: Path, tmp_path: Path) -> None:
    wanted = {
        "max_hands": 3,
        "hands": "left",
        "min_score": 0.25,
        "start": 1.0,
        "end": 2.5,
        "stride": 2,
        "rotate": 90,
        "duration": 4.0,
        "focal": 700.0,
        "smooth": 0.5,
        "overlay": False,
        "side_view": True,
        "export": ["obj", "json"],
        "vertices": True,
        "device": "cpu",
        "seed": 7,
    }
    text = (
        "--max-hands 3 --hands left --min-score 0.25 --start 1 --end 2.5 --stride 2 --rotate 90 --duration 4 --focal"
        " 700 --smooth 0.5 --no-overlay --view side --export obj,json --vertices --device cpu --seed 7 --json"
    )
    code, stdout, _ = handkit("demo", plain, "--out", tmp_path / "out", *text.split())
    assert code == 0
    unset = {"bbox": None, "keypoints": None, "K": None, "camera": None, "hand_model": "open"}
    assert json.loads(stdout)["options"] == {**DemoOptions().to_json(), **wanted, **unset}


def test_json_is_one_object_and_the_summary(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "text.mp4").write_text("no video")
    code, stdout, stderr = handkit("demo", tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert code == 1
    summary = json.loads(stdout)
    assert summary == json.loads((tmp_path / "out/summary.json").read_text())
    assert {Path(entry["input"]).name: entry["status"] for entry in summary["inputs"]} == {
        "plain.png": "no hand",
        "text.mp4": "failed",
    }
    assert summary["handkit"] == __version__
    assert re.search(r"^error: .*text\.mp4.*\ntry: .+$", stderr, re.MULTILINE)


def test_no_hands_is_no_error_and_said(plain: Path, tmp_path: Path) -> None:
    code, stdout, stderr = handkit("demo", plain, "--out", tmp_path / "out")
    assert (code, stderr) == (0, "")
    assert "no hand" in stdout
    assert f"wrote {tmp_path}/out/summary.json" in stdout
    assert "next: handkit demo" in stdout


def test_every_bad_input_is_reported_and_the_rest_done(plain: Path, tmp_path: Path) -> None:
    folder = plain.parent
    (folder / "empty.jpg").touch()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "corrupt.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really")
    # 20,000 x 20,000 in the header only
    (folder / "huge.pgm").write_bytes(b"P5 20000 20000 255\n" + bytes(100))
    code, _, stderr = handkit("demo", folder, tmp_path / "missing", "--out", tmp_path / "out", "--quiet")
    assert code == 1
    for name in ("empty.jpg", "empty.mp4", "text.mp4", "corrupt.jpg", "huge.pgm", "missing"):
        assert re.search(rf"^error: .*{re.escape(name)}", stderr, re.MULTILINE), name
    assert stderr.count("error: ") == stderr.count("try: ") == 6
    assert "20000 x 20000 pixels" in stderr
    statuses = {
        Path(e["input"]).name: e["status"] for e in json.loads((tmp_path / "out/summary.json").read_text())["inputs"]
    }
    assert statuses.pop("plain.png") == "no hand"
    assert set(statuses.values()) == {"failed"}


def test_unwritable_output_exits_1(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, stdout, stderr = handkit("demo", plain, "--out", tmp_path / "file" / "out")
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: cannot write")
    assert "try: " in stderr
    code, stdout, _ = handkit("demo", plain, "--out", tmp_path / "file" / "out", "--json")
    assert set(json.loads(stdout)) == {"error", "try"}


def test_a_hand_file_that_runs_code_is_refused(plain: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps({"v_template": Evil()}))
    code, stdout, stderr = handkit(
        "demo", plain, "--out", tmp_path / "out", "--hand-model", tmp_path / "MANO_RIGHT.pkl"
    )
    assert (code, stdout) == (1, "")
    assert "MANO_RIGHT.pkl" in stderr
    assert not (tmp_path / "owned").exists()


def test_suspicions_are_warnings_that_quiet_hides(tmp_path: Path) -> None:
    with np.load(make_clip(tmp_path, frames=3).parent / "truth.npz") as truth:
        np.save(tmp_path / "mm.npy", 1000 * truth["joints_3d"])
    code, _, stderr = handkit("demo", tmp_path / "mm.npy", "--out", tmp_path / "out")
    assert code == 0
    assert stderr.startswith("warning: ")
    assert "millimetres" in stderr
    assert handkit("demo", tmp_path / "mm.npy", "--out", tmp_path / "out", "--force", "--quiet")[2] == ""


def test_names_that_look_like_markup_are_shown(plain: Path, tmp_path: Path) -> None:
    (plain.parent / "[red]x.mp4").touch()
    assert "[red]x.mp4" in handkit("demo", plain.parent, "--out", tmp_path / "out")[1]


@pytest.mark.slow
def test_ctrl_c_exits_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path, frames=150)  # long enough to be interrupted on a busy machine
    process = subprocess.Popen(
        [*HANDKIT, "demo", str(clip), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # The overlay's unfinished file shows that the second reading is under way.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "out").glob("clip/.*.part*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stdout
    assert "Traceback" not in stderr
    assert not list((tmp_path / "out").rglob("*.part*"))
    assert not (tmp_path / "out/clip/done.json").exists()


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(plain: Path, tmp_path: Path) -> None:
    command = f"{shlex.join([*HANDKIT, 'demo', str(plain), '--out', str(tmp_path / 'out')])} | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""


def commands_of(path: Path) -> list[str]:
    """The `handkit` lines of a document's code blocks, continued lines joined."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    pieces = [piece.strip() for line in lines for piece in re.split(r"&&|\|", line)]
    return [piece for piece in pieces if re.match(r"handkit( |$)", piece)]


def parse(command: str) -> dict[str, object]:
    """The options of a command line; raises click's errors."""
    named = typer.main.get_command(app)
    verb, *arguments = shlex.split(command, comments=True)[1:]
    while hasattr(named, "commands"):
        named = named.commands[verb]
        if hasattr(named, "commands"):
            verb, *arguments = arguments
    return dict(named.make_context(verb, arguments).params)


def commands_with_help() -> dict[str, str]:
    """The help of every command by its words."""
    found, left = {}, [("handkit", typer.main.get_command(app))]
    for words, command in left:
        if hasattr(command, "commands"):
            left += [(f"{words} {name}", child) for name, child in command.commands.items()]
        else:
            found[words] = command.help or ""
    return found


def is_recipe(name: str) -> bool:
    return name.endswith(".toml") or (RECIPES / f"{name}.toml").is_file()


def test_every_readme_command_parses() -> None:
    commands = commands_of(ROOT / "README.md")
    assert commands
    for command in commands:
        if not command.startswith("handkit -"):
            given = parse(command)
            assert given, command
            assert is_recipe(str(given.get("recipe", "seqhand"))), command


@pytest.mark.parametrize(("words", "text"), commands_with_help().items(), ids=commands_with_help())
def test_every_example_of_the_help_parses(words: str, text: str) -> None:
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("    ")]
    examples = [line[line.index("handkit ") :] for line in lines]
    assert any(example.startswith(words) for example in examples)
    for example in examples:
        assert is_recipe(str(parse(example).get("recipe", "seqhand"))), example


def test_readme_names_every_recipe() -> None:
    text = (ROOT / "README.md").read_text()
    chosen_by_table = re.compile(r"(handnet|s2hand)-(table|fig)\d+")
    names = [path.stem for path in RECIPES.glob("*.toml") if not chosen_by_table.fullmatch(path.stem)]
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in text] == []
