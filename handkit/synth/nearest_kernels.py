"""Compiled parts of the nearest-pose search: building the tree of boxes and walking it.

The tree is complete: node i has the children 2i + 1 and 2i + 2 and holds the sorted rows bounds[i, 0] to bounds[i, 1];
every split halves its rows.
"""

import numpy as np

from handkit.render.jit import compiled


def order_by_tree(turned: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of the leaves, int64 [N], and the rows [2 ** (depth + 1) - 1, 2] of every node.

    Each node is halved at the median of the axis in which its rows spread most.
    """
    order = np.arange(len(turned))
    bounds = np.zeros((2 ** (depth + 1) - 1, 2), np.int64)
    bounds[0] = 0, len(turned)
    _split(turned, order, bounds, np.empty(len(turned), np.float32))
    return order, bounds


def boxes(rows: np.ndarray, bounds: np.ndarray, axes: int) -> np.ndarray:
    """Least and largest value [nodes, 2, axes] of every node's rows in its first axes."""
    out = np.empty((len(bounds), 2, axes), np.float32)
    first = len(bounds) // 2  # leaf; the nodes of a level follow each other
    np.minimum.reduceat(rows[:, :axes], bounds[first:, 0], axis=0, out=out[first:, 0])
    np.maximum.reduceat(rows[:, :axes], bounds[first:, 0], axis=0, out=out[first:, 1])
    while first:
        children, first = out[first : 2 * first + 1], first // 2
        parents = out[first : first + len(children) // 2]
        np.minimum(children[0::2, 0], children[1::2, 0], out=parents[:, 0])
        np.maximum(children[0::2, 1], children[1::2, 1], out=parents[:, 1])
    return out


def _split_kernel(turned: np.ndarray, order: np.ndarray, bounds: np.ndarray, values: np.ndarray) -> None:
    dims = turned.shape[1]
    for node in range(len(bounds) // 2):
        start, end = bounds[node, 0], bounds[node, 1]
        step = max(1, (end - start) // 512)  # a sample tells the spread
        axis, widest = 0, -1.0
        for a in range(dims):
            total, square, count = 0.0, 0.0, 0
            for i in range(start, end, step):
                value = float(turned[order[i], a])
                total += value
                square += value * value
                count += 1
            spread = square / count - (total / count) ** 2
            if spread > widest:
                axis, widest = a, spread
        for i in range(start, end):
            values[i] = turned[order[i], axis]
        middle = start + (end - start) // 2
        _halve(values, order, start, end - 1, middle)
        bounds[2 * node + 1, 0], bounds[2 * node + 1, 1] = start, middle
        bounds[2 * node + 2, 0], bounds[2 * node + 2, 1] = middle, end


def _halve_kernel(values: np.ndarray, order: np.ndarray, low: int, high: int, middle: int) -> None:
    """Hoare's selection: what is before `middle` is nowhere larger than what comes from there on."""
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


def _to_box_kernel(query: np.ndarray, box: np.ndarray) -> np.float32:
    """Squared distance of a point to a box, in single precision."""
    total = np.float32(0)
    for a in range(box.shape[1]):
        gap = max(box[0, a] - query[a], query[a] - box[1, a], np.float32(0))
        total += gap * gap
    return total


def _search_l2_kernel(
    exact: np.ndarray,
    turned: np.ndarray,
    margins: np.ndarray,
    rows: np.ndarray,
    points: np.ndarray,
    order: np.ndarray,
    bounds: np.ndarray,
    node_boxes: np.ndarray,
    index: np.ndarray,
    square: np.ndarray,
) -> None:
    dims, axes = rows.shape[1], node_boxes.shape[2]
    inner = len(bounds) // 2
    stack, least = np.empty(128, np.int64), np.empty(128, np.float32)
    for n in range(len(exact)):
        query = turned[n]
        best, found = np.inf, -1
        limit = np.float32(np.inf)  # nothing beyond it, rounding included, can be nearest
        stack[0], least[0], top = 0, 0.0, 1
        while top:
            top -= 1
            node = stack[top]
            if least[top] > limit:
                continue
            while node < inner:
                left, right = _to_box(query, node_boxes[2 * node + 1]), _to_box(query, node_boxes[2 * node + 2])
                near, far, away = 2 * node + 1, 2 * node + 2, right
                if right < left:
                    near, far, away = far, near, left
                if away <= limit:
                    stack[top], least[top] = far, away
                    top += 1
                node = near
                if min(left, right) > limit:
                    node = -1
                    break
            if node < 0:
                continue
            for i in range(bounds[node, 0], bounds[node, 1]):
                rough = np.float32(0)
                for a in range(axes):
                    rough += (rows[i, a] - query[a]) ** 2
                if rough > limit:
                    continue
                for a in range(axes, dims):
                    rough += (rows[i, a] - query[a]) ** 2
                if rough > limit:
                    continue
                row = order[i]
                total = _sum_squares(points[row], exact[n])
                if total < best or (total == best and row < found):
                    best, found = total, row
                    limit = np.float32((np.sqrt(best) + margins[n]) ** 2 * 1.00001)
        index[n], square[n] = found, best


def _sum_squares_kernel(point: np.ndarray, query: np.ndarray) -> float:
    total = 0.0
    for a in range(len(query)):
        total += (np.float64(point[a]) - query[a]) ** 2
    return total


def _search_l1_kernel(
    exact: np.ndarray,
    other: np.ndarray,
    both: bool,
    points: np.ndarray,
    order: np.ndarray,
    bounds: np.ndarray,
    node_boxes: np.ndarray,
    index: np.ndarray,
    total: np.ndarray,
) -> None:
    inner = len(bounds) // 2
    stack, least = np.empty(128, np.int64), np.empty(128)
    for n in range(len(exact)):
        best, found = np.inf, -1
        stack[0], least[0], top = 0, 0.0, 1
        while top:
            top -= 1
            node = stack[top]
            if least[top] * 0.999999 > best:
                continue
            if node < inner:
                left = _to_box_l1(exact[n], other[n], both, node_boxes[2 * node + 1])
                right = _to_box_l1(exact[n], other[n], both, node_boxes[2 * node + 2])
                first, second = (left, right) if left > right else (right, left)
                stack[top], least[top] = 2 * node + (1 if left > right else 2), first
                stack[top + 1], least[top + 1] = 2 * node + (2 if left > right else 1), second
                top += 2
                continue
            for i in range(bounds[node, 0], bounds[node, 1]):
                row = order[i]
                value = _sum_absolute(points[row], exact[n], other[n], both)
                if value < best or (value == best and row < found):
                    best, found = value, row
        index[n], total[n] = found, best


def _to_box_l1_kernel(query: np.ndarray, other: np.ndarray, both: bool, box: np.ndarray) -> float:
    total = 0.0
    for a in range(len(query)):
        total += max(box[0, a] - query[a], query[a] - box[1, a], 0.0)
        if both:
            total += max(box[0, a] - other[a], other[a] - box[1, a], 0.0)
    return total


def _sum_absolute_kernel(point: np.ndarray, query: np.ndarray, other: np.ndarray, both: bool) -> float:
    first, second = 0.0, 0.0
    for a in range(len(query)):
        first += abs(point[a] - query[a])
    if both:
        for a in range(len(query)):
            second += abs(point[a] - other[a])
    return first + second


_halve = compiled(_halve_kernel)
_split = compiled(_split_kernel)
_to_box = compiled(_to_box_kernel, fastmath=True)
_sum_squares = compiled(_sum_squares_kernel)
search_l2 = compiled(_search_l2_kernel)
_to_box_l1 = compiled(_to_box_l1_kernel, fastmath=True)
_sum_absolute = compiled(_sum_absolute_kernel)
search_l1 = compiled(_search_l1_kernel)
