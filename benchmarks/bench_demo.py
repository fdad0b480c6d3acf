"""Speed of `handkit demo` on its own clip, start of Python left out: `pytest benchmarks/bench_demo.py`."""

from pathlib import Path

import pytest

from handkit.demo.clip import make_clip
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"), frames=120)


@pytest.mark.parametrize("overlay", [True, False])
def test_demo(benchmark, clip, tmp_path, overlay):
    benchmark.extra_info["frames"] = 120
    options = DemoOptions(overlay=overlay)
    benchmark.pedantic(
        run_demo, args=([str(clip)], tmp_path, options), kwargs={"force": True}, rounds=3, warmup_rounds=1
    )
