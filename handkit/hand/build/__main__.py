"""Builds the open hand from its measurements: `python -m handkit.hand.build [--out FILE]`."""

import argparse
import os
from pathlib import Path

import numpy as np

from handkit.hand.build.assemble import build_hand

DEFAULT = Path(__file__).resolve().parents[1] / "open_hand.npz"


def write_hand(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write the npz in one step, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m handkit.hand.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT, help="the npz to write (default: the shipped one)")
    write_hand(build_hand(), parser.parse_args().out)


if __name__ == "__main__":
    main()
