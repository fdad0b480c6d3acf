"""Speed and memory of `handkit generate seqhand` on this machine's cores.

    python benchmarks/bench_generate.py [SEQUENCES] [--poses FILE]

First the processor's time of each stage of a sequence, on one core; then whole runs, from start to finished shards:
frames a second of wall time, of the shards alone and with loading, and the memory of all processes together, at most.
Figures mean something on an idle machine only.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import orjson
import torch

from handkit.recipe import load_recipe
from handkit.synth.appearance import develop
from handkit.synth.job import SequenceJob
from handkit.synth.paint import paint_sequence
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.shards import encode_image, encode_npz

STAGES = ("annotate", "background", "layers", "paint", "develop", "encode")
RUN = "import sys; from handkit_cli import app; sys.exit(app())"


def stage_times(job: SequenceJob, sequences: int) -> dict[str, float]:
    """Milliseconds of one core a frame, by stage."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    maker = job.make()
    for item in maker.annotate_many(range(4)):
        list(job.encode(maker, item))
    spent = dict.fromkeys(STAGES, 0.0)
    clock = time.process_time

    def lap(stage: str, since: float) -> float:
        now = clock()
        spent[stage] += now - since
        return now

    at = clock()
    items = list(maker.annotate_many(range(sequences)))
    lap("annotate", at)
    for item in items:
        at = clock()
        backgrounds = maker.background(item)
        at = lap("background", at)
        layers = maker.layers(item)
        at = lap("layers", at)
        light, fine = item.appearance.light, maker.recipe.supersample
        images, masks = paint_sequence(backgrounds, layers, light=light, supersample=fine)
        at = lap("paint", at)
        rng = maker._rng(item.index, 0)
        images = np.stack([develop(image, item.appearance, rng) for image in images])
        at = lap("develop", at)
        arrays = item.annotations()
        for frame, (image, mask) in enumerate(zip(images, masks, strict=True)):
            encode_image(image, "jpg")
            encode_image(mask, "png")
            encode_npz({name: values[frame] for name, values in arrays.items()})
        lap("encode", at)
    return {stage: 1e3 * seconds / (sequences * job.frames) for stage, seconds in spent.items()}


def whole_run(out: Path, recipe: str, sequences: int, poses: str) -> tuple[float, float, float]:
    """Frames a second of the shards, seconds in all, and the largest memory in GB of all its processes."""
    asked = ["generate", "seqhand", "--out", str(out), "--recipe", recipe, "--sequences", str(sequences)]
    asked += ["--poses", poses]
    started = time.monotonic()
    run = subprocess.Popen([sys.executable, "-c", RUN, *asked, "--shard-size", "25", "--json"], stdout=subprocess.PIPE)
    peak = [0.0]
    watch = threading.Thread(target=_watch, args=(run, peak), daemon=True)
    watch.start()
    told = orjson.loads(run.communicate()[0])
    return told["frames_per_s"], time.monotonic() - started, peak[0]


def _watch(run: subprocess.Popen[bytes], peak: list[float]) -> None:
    while run.poll() is None:
        peak[0] = max(peak[0], sum(_memory_gb(pid) for pid in _family(run.pid)))
        time.sleep(0.2)


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [one for child in task.read_text().split() for one in _family(int(child))]
        except OSError:
            continue
    return found


def _memory_gb(pid: int) -> float:
    """What a process has for itself and its share of what it has in common with others."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequences", type=int, nargs="?", default=200)
    parser.add_argument("--poses", default="builtin", help="as of handkit generate seqhand")
    args = parser.parse_args()
    sequences = args.sequences
    for recipe in ("seqhand", "seqhand-published"):
        settings = load_recipe(SequenceRecipe, recipe)
        job = SequenceJob(out=Path("unused"), recipe=settings, sequences=1, poses=args.poses)
        times = stage_times(job, min(sequences, 60))
        total = sum(times.values())
        print(f"{recipe}: {total:.2f} ms of one core a frame, {1e3 / total:.0f} frames/s a core")
        print("  " + ", ".join(f"{stage} {spent:.2f} ms ({spent / total:.0%})" for stage, spent in times.items()))
        with tempfile.TemporaryDirectory() as folder:
            rate, seconds, memory = whole_run(Path(folder) / "out", recipe, sequences, args.poses)
        print(
            f"  {sequences} sequences to shards: {rate:.0f} frames/s, {seconds:.1f} s in all, {memory:.2f} GB at most"
        )


if __name__ == "__main__":
    main()
