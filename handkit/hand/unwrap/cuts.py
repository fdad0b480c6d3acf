"""Where the hand's surface is cut: along the sides of the hand and the fingers, and around the fingers' bases.

One line runs from the wrist's thumb side over the five fingertips and the webs between them to its other side, and
parts palm from back. On either half a chord cuts off each finger: twelve charts, each a topological disc. The lines are
shortest paths along edges, guided by joints, weights and normals alone, so any hand in MANO's rest frame can be cut.
"""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from handkit.errors import HandkitError
from handkit.hand.model import HandModel

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")
CHARTS: Final = ("palm", "back", *(f"{finger} {side}" for side in ("palmar", "dorsal") for finger in FINGERS))
_FIRST_JOINT: Final = (13, 1, 4, 10, 7)  # MANO's number of each finger's first joint
# How much dearer an edge is that faces straight to the palm or to the back, and how many vertices apart the cuts around
# neighbouring fingers end in the web between them; the later pairs are tried where cuts fail.
_ATTEMPTS: Final = ((6.0, 0), (6.0, 1), (3.0, 0), (3.0, 1), (6.0, 2), (12.0, 1))
_BASE_BAND_M: Final = 0.004  # chords prefer to stay this near to the plane across the finger
_NO_HAND: Final = "use a hand of MANO's topology in MANO's rest frame"


class _Edges(NamedTuple):
    ends: np.ndarray  # [E, 2], lower vertex first
    of_face: np.ndarray  # [F, 3], opposite to corners 2, 0, 1
    uses: np.ndarray  # [E] faces at the edge


class _CutError(HandkitError):
    """These lines do not part the surface as they should; others may."""


def cut_hand(hand: HandModel) -> np.ndarray:
    """The chart of each face [1538], an index into CHARTS, for a right hand; raises HandkitError where cuts fail."""
    for bias, apart in _ATTEMPTS[:-1]:
        try:
            return _cut(hand, bias, apart)
        except _CutError:
            continue
    return _cut(hand, *_ATTEMPTS[-1])


def _cut(hand: HandModel, bias: float, apart: int) -> np.ndarray:
    """`cut_hand` by one attempt's numbers."""
    vertices, faces = hand.v_template, hand.faces
    edges = _edges(faces)
    lines = _side_lines(hand, edges, bias)
    halves = _parts(edges, lines)
    if halves.max() != 1:
        raise _CutError(f"the hand {hand.name!r} cannot be parted into palm and back", _NO_HAND)
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    towards_palm = (normals * _palmar(hand)[faces].mean(1)).sum(1)
    palm = int(towards_palm[halves == 1].sum() > towards_palm[halves == 0].sum())
    taken = np.concatenate([*lines, np.unique(edges.ends[edges.uses == 1])])
    sides = [np.setdiff1d(faces[halves == half], taken) for half in (palm, 1 - palm)]
    ends = _chord_ends(hand, lines, apart, _touching(edges, sides[0]) & _touching(edges, sides[1]))
    chords: list[np.ndarray] = []
    for side in sides:
        chords += _chords(hand, edges, ends, np.setdiff1d(np.arange(len(vertices)), side))
    return _named(hand, _parts(edges, [*lines, *chords]), halves == palm)


def _chords(hand: HandModel, edges: _Edges, ends: list[tuple[int, int]], blocked: np.ndarray) -> list[np.ndarray]:
    """The lines that cut the five fingers off one half; where a web has no room for two they start as one."""
    chords: list[np.ndarray] = []
    for finger, (start, end) in enumerate(ends):
        costs = _chord_costs(hand, edges, finger, (start, end))
        starts = [start]
        if chords and chords[-1][-1] == start:
            starts = chords[-1][:1:-1].tolist()
        for k, first in enumerate(starts):
            try:
                chords.append(_path(edges, costs, first, end, blocked))
                break
            except _CutError:
                if k == len(starts) - 1:
                    raise
        blocked = np.concatenate([blocked, chords[-1]])
    return chords


def boundary_loop(faces: np.ndarray) -> np.ndarray | None:
    """The boundary vertices of a disc in order, along its faces' direction; None if the faces are no disc."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    seen = {(int(a), int(b)) for a, b in directed}
    border = [(a, b) for a, b in seen if (b, a) not in seen]
    after = dict(sorted(border))
    corners = len(np.unique(faces))
    whole = len(after) == len(border) and corners - (len(seen) + len(border)) // 2 + len(faces) == 1
    if not whole or not border:
        return None
    start = min(after)
    loop = [start]
    while (vertex := after[loop[-1]]) != start and len(loop) < len(border):
        loop.append(vertex)
    return np.array(loop) if len(loop) == len(border) else None


def _edges(faces: np.ndarray) -> _Edges:
    sides = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    ends, index, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return _Edges(ends, index.reshape(-1, 3), count)


def _palmar(hand: HandModel) -> np.ndarray:
    """The direction [778, 3] in which the inner side of the hand lies from each vertex."""
    directions = np.tile([0.0, -1.0, 0.0], (16, 1))
    directions[13:] = -np.ones(3) / np.sqrt(3)
    blended = hand.lbs_weights @ directions
    return blended / np.linalg.norm(blended, axis=1, keepdims=True)


def _joints(hand: HandModel) -> np.ndarray:
    return hand.J_regressor @ hand.v_template


def _side_lines(hand: HandModel, edges: _Edges, bias: float) -> list[np.ndarray]:
    """Six paths: wrist to thumb tip, tip to tip, little tip to wrist."""
    vertices, joints = hand.v_template, _joints(hand)
    tips = []
    for first in _FIRST_JOINT:
        own = np.flatnonzero(hand.lbs_weights.argmax(1) == first + 2)
        if not len(own):
            raise HandkitError(f"no vertex of the hand {hand.name!r} belongs to joint {first + 2}", _NO_HAND)
        tips.append(int(own[np.argmax((vertices[own] - joints[first + 2]) @ (joints[first + 2] - joints[first + 1]))]))
    rim = np.unique(edges.ends[edges.uses == 1])
    if not len(rim):
        raise HandkitError(f"the hand {hand.name!r} is not open at the wrist", _NO_HAND)
    stops = [int(rim[vertices[rim, 2].argmax()]), *tips, int(rim[vertices[rim, 2].argmin()])]
    normals = np.zeros_like(vertices)
    a, b, c = vertices[hand.faces].transpose(1, 0, 2)
    np.add.at(normals, hand.faces.ravel(), np.repeat(np.cross(b - a, c - a), 3, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    off_side = (normals * _palmar(hand)).sum(1) ** 2
    costs = _lengths(vertices, edges) * (1 + bias * off_side[edges.ends].mean(1))
    lines: list[np.ndarray] = []
    for start, end in pairwise(stops):
        lines.append(_path(edges, costs, start, end, np.concatenate([rim, tips, *lines])))
    return lines


def _touching(edges: _Edges, vertices: np.ndarray) -> np.ndarray:
    """Which vertices [V] have one of `vertices` for a neighbour."""
    among = np.isin(edges.ends, vertices)
    touching = np.zeros(int(edges.ends.max()) + 1, bool)
    touching[edges.ends[among[:, ::-1]]] = True
    return touching


def _chord_ends(hand: HandModel, lines: list[np.ndarray], apart: int, roomy: np.ndarray) -> list[tuple[int, int]]:
    """For each finger the two vertices on the side lines between which it is cut off, `roomy` [V] ones if there are."""
    joints = _joints(hand)
    axes = np.stack([joints[first + 1] - joints[first] for first in _FIRST_JOINT])
    axes[0] = joints[15] - joints[14]
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)

    def heights(line: np.ndarray, finger: int) -> np.ndarray:
        return hand.v_template[line] @ axes[finger]

    def nearest(line: np.ndarray, finger: int, height: float) -> int:
        return int(line[(np.abs(heights(line, finger) - height) + ~roomy[line]).argmin()])

    outer, thumb_index, *between, ulnar = lines
    webs = []
    for k, line in enumerate(between, 1):
        web = 1 + int((heights(line[1:-1], k) + heights(line[1:-1], k + 1) + ~roomy[line[1:-1]]).argmin())
        webs.append((int(line[max(web - apart, 1)]), int(line[min(web + apart, len(line) - 2)])))
    lowest = 1 + int((heights(thumb_index[1:-2], 0) + heights(thumb_index[1:-2], 1)).argmin())
    thumb_height = float(joints[14] @ axes[0])
    index_height = float(hand.v_template[webs[0][0]] @ axes[1])
    little_height = float(hand.v_template[webs[2][1]] @ axes[4])
    return [
        (nearest(outer[1:-1], 0, thumb_height), nearest(thumb_index[1 : lowest + 1], 0, thumb_height)),
        (nearest(thumb_index[lowest + 1 : -1], 1, index_height), webs[0][0]),
        (webs[0][1], webs[1][0]),
        (webs[1][1], webs[2][0]),
        (webs[2][1], nearest(ulnar[1:-1], 4, little_height)),
    ]


def _chord_costs(hand: HandModel, edges: _Edges, finger: int, ends: tuple[int, int]) -> np.ndarray:
    """Lengths, dearer away from the plane through both ends across the finger."""
    joints, first = _joints(hand), _FIRST_JOINT[finger]
    along = joints[first + 2] - joints[first + 1] if finger == 0 else joints[first + 1] - joints[first]
    across = hand.v_template[ends[1]] - hand.v_template[ends[0]]
    normal = along - across * (along @ across) / max(float(across @ across), 1e-12)
    normal /= max(float(np.linalg.norm(normal)), 1e-12)
    middles = hand.v_template[edges.ends].mean(1)
    off = (middles - hand.v_template[ends[0]]) @ normal
    return _lengths(hand.v_template, edges) * (1 + (off / _BASE_BAND_M) ** 2)


def _lengths(vertices: np.ndarray, edges: _Edges) -> np.ndarray:
    return np.linalg.norm(vertices[edges.ends[:, 0]] - vertices[edges.ends[:, 1]], axis=1)


def _path(edges: _Edges, costs: np.ndarray, start: int, end: int, blocked: np.ndarray) -> np.ndarray:
    """The cheapest path from start to end, in order, that touches no blocked vertex in between."""
    size = int(edges.ends.max()) + 1
    free = np.ones(size, bool)
    free[blocked] = False
    free[[start, end]] = True
    usable = free[edges.ends].all(1)
    i, j = edges.ends[usable].T
    graph = coo_matrix((costs[usable], (i, j)), shape=(size, size)).tocsr()
    _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
        if path[-1] < 0:
            raise _CutError("the hand's surface cannot be cut along its sides", _NO_HAND)
    return np.array(path[::-1])


def _parts(edges: _Edges, lines: list[np.ndarray]) -> np.ndarray:
    """The connected part of each face once the surface is cut along the lines."""
    steps = np.sort(np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines]), axis=1)
    size = int(edges.ends.max()) + 1
    cut = np.isin(edges.ends @ [size, 1], steps @ [size, 1]) | (edges.uses != 2)
    order = np.argsort(edges.of_face.ravel(), kind="stable")
    at_edge = edges.of_face.ravel()[order]
    inner = ~cut[at_edge]
    i, j = (order[inner] // 3).reshape(-1, 2).T
    faces = len(edges.of_face)
    return connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(faces, faces)), directed=False)[1]


def _named(hand: HandModel, parts: np.ndarray, palmar: np.ndarray) -> np.ndarray:
    """Parts as indices into CHARTS: a finger's part holds vertices that only its last joint moves."""
    if parts.max() + 1 != len(CHARTS):
        raise _CutError(f"the hand {hand.name!r} falls into {parts.max() + 1} charts, not {len(CHARTS)}", _NO_HAND)
    charts = np.where(palmar, 0, 1)
    joint_of_face = hand.lbs_weights[hand.faces].mean(1).argmax(1)
    for side, on_side in enumerate((palmar, ~palmar)):
        for finger, first in enumerate(_FIRST_JOINT):
            at_tip = parts[on_side & (joint_of_face == first + 2)]
            if len(at_tip):
                charts[parts == np.bincount(at_tip).argmax()] = 2 + 5 * side + finger
    for chart, name in enumerate(CHARTS):
        if boundary_loop(hand.faces[charts == chart]) is None:
            raise _CutError(f"the chart {name!r} of the hand {hand.name!r} is no disc", _NO_HAND)
    return charts
