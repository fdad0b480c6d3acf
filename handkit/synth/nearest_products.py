"""The exact nearest pose by batched matrix products in torch: the same answers as the tree of boxes, made for CUDA."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.errors import HandkitError

_KEPT = 8  # candidates of single precision that are looked at exactly
_QUERIES = 2048
_POINTS = 1 << 17


class ProductIndex:
    """As `PoseIndex`, for the Euclidean distance alone.

    |q - p|^2 = |q|^2 - 2 q.p + |p|^2 in single precision names the candidates; double precision of the given
    coordinates decides, the lowest index among equals. Queries that rounding leaves open are searched whole.
    """

    def __init__(self, bank_points: Float[np.ndarray, "N D"], device: str = "cuda") -> None:
        self.points = np.ascontiguousarray(bank_points, np.float32)
        if self.points.ndim != 2 or not len(self.points) or not np.isfinite(self.points).all():
            raise HandkitError(f"a pose bank of shape {self.points.shape}", "give finite poses, as [N, 63]")
        self._exact = torch.tensor(self.points, device=device)
        self._mean = self._exact.double().mean(0)
        self._centred = (self._exact - self._mean).float()
        self._norms = self._centred.double().square().sum(1).float()
        self._largest = float(self._norms.max()) ** 0.5

    def __len__(self) -> int:
        return len(self.points)

    def nearest(self, queries: Float[np.ndarray, "Q D"]) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
        """Index [Q] of the nearest point, the lowest among equals, and its distance [Q]."""
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            given = torch.as_tensor(np.asarray(queries, np.float64), device=self._exact.device)
            found = [self._nearest(part) for part in given.split(_QUERIES)]
        finally:
            torch.set_float32_matmul_precision(precision)
        index = torch.cat([part[0] for part in found]) if found else torch.empty(0, dtype=torch.int64)
        square = torch.cat([part[1] for part in found]) if found else torch.empty(0, dtype=torch.float64)
        return index.cpu().numpy(), square.sqrt().cpu().numpy()

    def nearest_l1(
        self, queries: Float[np.ndarray, "Q D"], second: Float[np.ndarray, "Q D"] | None = None
    ) -> tuple[Int[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
        """Not offered: sums of absolute differences are no matrix product."""
        raise HandkitError("no search by absolute differences on this device", 'use the metric "euclidean", or the CPU')

    def _nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Index and exact squared distance of up to _QUERIES queries."""
        centred = (queries - self._mean).float()
        scores, rows = self._candidates(centred)
        # each of the D products rounds once, so do the sums; generous
        size = centred.double().norm(dim=1) + self._largest
        error = 4 * queries.shape[1] * torch.finfo(torch.float32).eps * size.square()
        index, square = self._decide(queries, rows)
        if scores.shape[1] < len(self.points):
            for n in torch.nonzero(scores[:, -1].double() - scores[:, 0].double() <= 2 * error).flatten().tolist():
                index[n], square[n] = self._whole(queries[n])
        return index, square

    def _candidates(self, centred: Tensor) -> tuple[Tensor, Tensor]:
        """The least scores |p|^2 - 2 q.p [Q, K] in rising order and their rows."""
        scores = centred.new_empty(len(centred), 0)
        rows = torch.empty(len(centred), 0, dtype=torch.int64, device=centred.device)
        for start in range(0, len(self.points), _POINTS):
            part = slice(start, start + _POINTS)
            block = torch.addmm(self._norms[part], centred, self._centred[part].T, alpha=-2)
            least, at = block.topk(min(_KEPT, block.shape[1]), largest=False)
            scores, rows = torch.cat([scores, least], 1), torch.cat([rows, at + start], 1)
            scores, order = scores.topk(min(_KEPT, scores.shape[1]), largest=False)
            rows = rows.gather(1, order)
        return scores, rows

    def _decide(self, queries: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of each query's candidate rows the one that is nearest in double precision."""
        rows = rows.sort(dim=1).values
        square = (self._exact[rows].double() - queries[:, None]).square().sum(-1)
        best = square.argmin(dim=1, keepdim=True)  # the first of equals
        first = (square == square.gather(1, best)).to(torch.uint8).argmax(dim=1, keepdim=True)
        return rows.gather(1, first)[:, 0], square.gather(1, first)[:, 0]

    def _whole(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest of all points by double precision."""
        square = torch.cat([(part.double() - query).square().sum(1) for part in self._exact.split(_POINTS)])
        row = (square == square.min()).nonzero()[0, 0]
        return row, square[row]
