"""Boxes for the charts: the unit square sliced into rectangles of given areas, as near as can be to wanted proportions.

A slicing tree in postfix order (Wong and Liu 1986): a number is a chart, "+" puts two parts beside each other, "-" one
under the other. Any tree fills the square; annealing looks for one whose boxes have the charts' own proportions, each
upright or on its side.
"""

import math

import numpy as np

_STEPS, _SEED = 12_000, 0
Tree = list[int | str]


def slice_square(areas: np.ndarray, aspects: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] (left, top, width, height) that tile the unit square.

    `areas` [N] are their relative areas, `aspects` [N] the wanted width over height, or its inverse. Deterministic.
    """
    shares = (areas / areas.sum()).tolist()
    wanted = np.log(aspects).tolist()
    rng = np.random.default_rng(_SEED)
    tree: Tree = [0]
    for chart in range(1, len(shares)):
        tree += [chart, "+" if chart % 2 else "-"]
    cost = _misfit(tree, shares, wanted)
    best, best_cost = tree, cost
    for step in range(_STEPS):
        changed = _changed(tree, rng)
        changed_cost = _misfit(changed, shares, wanted)
        heat = 0.05 * (1 - step / _STEPS) ** 2 + 1e-9
        if changed_cost < cost or rng.random() < math.exp((cost - changed_cost) / heat):
            tree, cost = changed, changed_cost
            if cost < best_cost:
                best, best_cost = tree, cost
    return np.array(_boxes(best, shares))


def _changed(tree: Tree, rng: np.random.Generator) -> Tree:
    """A neighbour: two charts swapped, one cut turned, or one chart moved past a cut."""
    changed = list(tree)
    charts = [k for k, item in enumerate(tree) if isinstance(item, int)]
    cuts = [k for k, item in enumerate(tree) if isinstance(item, str)]
    move = rng.integers(3)
    if move == 0:
        i, j = rng.choice(charts, 2, replace=False)
        changed[i], changed[j] = tree[j], tree[i]
    elif move == 1:
        k = rng.choice(cuts)
        changed[k] = "-" if tree[k] == "+" else "+"
    else:
        k = int(rng.integers(1, len(tree) - 1))
        changed[k], changed[k + 1] = tree[k + 1], tree[k]
    return changed if _is_valid(changed) else tree


def _is_valid(tree: Tree) -> bool:
    depth = 0
    for item in tree:
        depth += 1 if isinstance(item, int) else -1
        if depth < 1:
            return False
    return depth == 1


def _boxes(tree: Tree, shares: list[float]) -> list[tuple[float, float, float, float]]:
    """The box of each chart: shares are summed from the leaves, then the square is handed down."""
    parts: list[tuple[float, int | str, int, int]] = []  # share, item, places of the two halves
    stack: list[int] = []
    for item in tree:
        if isinstance(item, int):
            parts.append((shares[item], item, -1, -1))
        else:
            second, first = stack.pop(), stack.pop()
            parts.append((parts[first][0] + parts[second][0], item, first, second))
        stack.append(len(parts) - 1)
    boxes = [(0.0, 0.0, 0.0, 0.0)] * len(shares)
    todo = [(stack[0], 0.0, 0.0, 1.0, 1.0)]
    while todo:
        place, x, y, width, height = todo.pop()
        share, item, first, second = parts[place]
        if isinstance(item, int):
            boxes[item] = (x, y, width, height)
            continue
        part = parts[first][0] / share
        if item == "+":
            todo += [(first, x, y, part * width, height), (second, x + part * width, y, (1 - part) * width, height)]
        else:
            todo += [(first, x, y, width, part * height), (second, x, y + part * height, width, (1 - part) * height)]
    return boxes


def _misfit(tree: Tree, shares: list[float], wanted: list[float]) -> float:
    """The mean over the area of the squared log ratio of proportions."""
    total = 0.0
    for (_, _, width, height), share, aspect in zip(_boxes(tree, shares), shares, wanted, strict=True):
        total += share * (abs(math.log(width / height)) - abs(aspect)) ** 2
    return total
