"""The exact nearest pose, against brute force; pose flows, against the equations written out."""

from pathlib import Path

import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.synth import nearest_tree
from handkit.synth.bank_builtin import sample_bank
from handkit.synth.flow import PoseIndex, ProductIndex, pose_flow


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return sample_bank(9000, 3)[0].reshape(-1, 63)


@pytest.fixture(scope="module")
def index(points) -> PoseIndex:
    return PoseIndex(points)


def brute(points: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square = np.stack([np.square(points.astype(np.float64) - query).sum(1) for query in queries])
    return square.argmin(1), np.sqrt(square.min(1))


def some_queries(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    a, b = rng.integers(len(points), size=(2, 120))
    near = points[a] + 0.12 * (points[b].astype(np.float64) - points[a])
    return np.concatenate([near, near + rng.normal(0, 0.05, near.shape), points[a[:20]], near[:5] * 40])


@pytest.mark.parametrize("make", [PoseIndex, lambda points: ProductIndex(points, device="cpu")])
@pytest.mark.parametrize("case", ["bank", "noise", "copies", "constant", "single", "far", "narrow"])
def test_nearest_is_exact(make, case, points):
    rng = np.random.default_rng(4)
    bank = {
        "bank": points[:5000],
        "noise": rng.normal(size=(3000, 63)).astype(np.float32),
        "copies": np.repeat(points[:200], 17, 0)[rng.permutation(3400)],
        "constant": np.ones((500, 63), np.float32),
        "single": points[:1],
        "far": points[:2000] + np.float32(10),
        "narrow": rng.normal(size=(1000, 3)).astype(np.float32),
    }[case]
    queries = some_queries(bank, rng)
    found, distance = make(bank).nearest(queries)
    expected, least = brute(bank, queries)
    assert (found == expected).all()
    assert np.abs(distance - least).max() <= 1e-12 * max(1, least.max())


def test_answer_is_independent_of_batch_and_order(index, points):
    queries = some_queries(points, np.random.default_rng(5))
    queries = np.concatenate([queries] * 4)  # several threads
    found, distance = index.nearest(queries)
    order = np.random.default_rng(6).permutation(len(queries))
    assert (index.nearest(queries[order])[0] == found[order]).all()
    alone = [index.nearest(query[None]) for query in queries[:50]]
    assert (np.concatenate([a[0] for a in alone]) == found[:50]).all()
    assert (np.concatenate([a[1] for a in alone]) == distance[:50]).all()


def test_reordered_bank_gives_the_same_poses(index, points):
    order = np.random.default_rng(7).permutation(len(points))
    queries = some_queries(points, np.random.default_rng(8))
    moved, d_moved = PoseIndex(points[order]).nearest(queries)
    found, d_found = index.nearest(queries)
    assert (points[order][moved] == points[found]).all()
    assert (d_moved == d_found).all()


@pytest.mark.parametrize("both", [False, True])
def test_l1_is_exact(both, index, points):
    queries = some_queries(points, np.random.default_rng(9))
    second = queries[::-1].copy() if both else None
    found, total = index.nearest_l1(queries, second)
    for n, query in enumerate(queries):
        sums = np.abs(points.astype(np.float64) - query).sum(1)
        if second is not None:
            sums += np.abs(points.astype(np.float64) - second[n]).sum(1)
        assert total[n] == pytest.approx(sums.min(), rel=1e-12)
        assert sums[found[n]] == pytest.approx(sums.min(), rel=1e-12)


def test_a_kept_tree_is_built_once_and_shared(points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_tree, "_KEPT", 1000)
    built = []

    def counted(points: np.ndarray) -> nearest_tree.Tree:
        built.append(len(points))
        return original(points)

    original = nearest_tree.build_tree
    monkeypatch.setattr(nearest_tree, "build_tree", counted)
    queries = some_queries(points, np.random.default_rng(13))
    expected = brute(points, queries)[0]
    for _ in range(3):
        assert (PoseIndex(points, folder=tmp_path).nearest(queries)[0] == expected).all()
    assert built == [9000]
    PoseIndex(points[:8000], folder=tmp_path)
    assert built == [9000, 8000]
    for rows in tmp_path.glob("*/rows.npy"):
        rows.write_bytes(rows.read_bytes()[:-100])  # as a disk that failed leaves it
    assert (PoseIndex(points, folder=tmp_path).nearest(queries)[0] == expected).all()
    assert built == [9000, 8000, 9000]
    assert not list(tmp_path.glob("*.part"))


def test_a_tree_that_cannot_be_kept_serves_from_memory(points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_tree, "_KEPT", 1000)
    (tmp_path / "file").touch()
    queries = some_queries(points, np.random.default_rng(14))
    found, _ = PoseIndex(points, folder=tmp_path / "file" / "trees").nearest(queries)
    assert (found == brute(points, queries)[0]).all()


def slow_flow(points, start, end, frames, alpha, metric):
    path, before = [start], None
    final = points[end].astype(np.float64)
    for _ in range(frames - 1):
        current = points[path[-1]].astype(np.float64)
        updated = current - alpha / frames * (current - final)
        if metric == "euclidean":
            score = np.linalg.norm(points - updated, axis=1)
        else:
            score = np.abs(points - updated).sum(1) + (0 if before is None else np.abs(points - before).sum(1))
            before = updated
        path.append(int(score.argmin()))
    return path


@pytest.mark.parametrize("metric", ["euclidean", "l1-continuous"])
@pytest.mark.parametrize(("frames", "alpha"), [(10, 1.2), (6, 2.0), (1, 1.2)])
def test_flow_follows_the_equations(metric, frames, alpha, index, points):
    start, end = np.random.default_rng(10).integers(len(points), size=(2, 12))
    path = pose_flow(index, start, end, frames=frames, alpha=alpha, metric=metric)
    assert path.shape == (12, frames)
    for n in range(12):
        assert path[n].tolist() == slow_flow(points, start[n], end[n], frames, alpha, metric)


def test_flow_by_products_is_the_same(index, points):
    start, end = np.random.default_rng(11).integers(len(points), size=(2, 64))
    products = ProductIndex(points, device="cpu")
    assert (pose_flow(products, start, end, frames=10) == pose_flow(index, start, end, frames=10)).all()
    with pytest.raises(HandkitError):
        pose_flow(products, start, end, frames=3, metric="l1-continuous")


def test_flow_comes_nearer_the_end(index, points):
    start, end = np.random.default_rng(12).integers(len(points), size=(2, 100))
    path = pose_flow(index, start, end, frames=10)
    left = np.linalg.norm(points[path] - points[end][:, None], axis=2)
    assert (np.diff(left, axis=1) <= 1e-6).mean() > 0.99


def test_wrong_input_is_refused(index, points):
    with pytest.raises(HandkitError, match="0 frames"):
        pose_flow(index, np.array([0]), np.array([1]), frames=0)
    with pytest.raises(HandkitError, match="cosine"):
        pose_flow(index, np.array([0]), np.array([1]), frames=2, metric="cosine")
    with pytest.raises(ValueError, match="not finite"):
        index.nearest(np.full((1, 63), np.nan))
    with pytest.raises(HandkitError):
        PoseIndex(np.full((3, 63), np.nan, np.float32))
    with pytest.raises(HandkitError):
        PoseIndex(np.empty((0, 63), np.float32))
