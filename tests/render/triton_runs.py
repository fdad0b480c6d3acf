"""Triton in a process of its own: whether its kernels are interpreted is settled when it is imported."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

PLACES = [
    "interpreter",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
    ),
]


def run_script(script: str, interpreted: bool, *arguments: str) -> None:
    """Run a test file as a script."""
    environment = {**os.environ, "TRITON_INTERPRET": str(int(interpreted)), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-W", "error", script, *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


def compile_for_hopper(kernel: Any, types: dict[str, str], constants: dict[str, Any]) -> None:
    """Compile a kernel for compute capability 9.0, whether or not there is such a GPU; types as Triton writes them."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fixed = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    triton.compile(
        ASTSource(kernel, types, constexprs=fixed),
        target=GPUTarget("cuda", 90, 32),
        options={"enable_fp_fusion": True},
    )


def drawn_by(script: str, place: str, folder: Path) -> dict[str, list[Tensor]]:
    """What the script draws at one of `PLACES`; it saves to the path that is its last argument."""
    pytest.importorskip("triton")
    path = folder / "drawn.pt"
    run_script(script, place == "interpreter", "cpu" if place == "interpreter" else "cuda", str(path))
    return torch.load(path, weights_only=True)
