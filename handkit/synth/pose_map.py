"""A picture of a pose bank: in two dimensions, neighbours side by side, coloured by kind (SeqHAND Fig. 3)."""

from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.synth.poses import PoseBank

_MOST: Final = 10_000


def draw_pose_map(bank: PoseBank, path: str | Path, *, seed: int = 0, most: int = _MOST) -> Path:
    """Write a t-SNE map of up to `most` random poses of the bank as .png, .pdf or .svg; the path comes back.

    Raises HandkitError where openTSNE is not installed (the extra `tsne`).
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise HandkitError(f"cannot draw a map as {path.name!r}", "name a .png, .pdf or .svg file")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(bank), min(most, len(bank)), replace=False))
    places = _embed(bank.joints[chosen].reshape(len(chosen), 63), seed)
    figure = Figure(figsize=(8, 8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, name in enumerate(bank.kinds):
        of_kind = bank.kind[chosen] == number
        if of_kind.any():
            x, y = places[of_kind].T
            axes.scatter(x, y, s=3, linewidths=0, alpha=0.7, label=f"{name} ({of_kind.sum():,})")
    axes.set(xticks=[], yticks=[], aspect="equal", title=f"{len(chosen):,} of {len(bank):,} poses, {bank.source}")
    axes.legend(markerscale=4, loc="best", fontsize="small")
    with atomic_path(path) as partial:
        figure.savefig(partial)
    return path


def _embed(points: Float[np.ndarray, "N 63"], seed: int) -> Float[np.ndarray, "N 2"]:
    """t-SNE by openTSNE, started from the principal components."""
    try:
        tsne = import_module("openTSNE").TSNE
    except ImportError as error:
        raise HandkitError("the map of poses needs openTSNE", 'pip install "handkit[tsne]", or openTSNE') from error
    if len(points) < 8:
        raise HandkitError(f"a map of {len(points)} poses", "give at least 8")
    perplexity = min(30, (len(points) - 1) / 3)
    return np.asarray(tsne(perplexity=perplexity, random_state=seed, n_jobs=1).fit(points))
