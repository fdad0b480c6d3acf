"""One predictions file refined: pictures read one by one, hands refined in batches, results written at the end."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from handkit.demo.hands import HandPair
from handkit.demo.results import HANDS
from handkit.errors import HandkitError
from handkit.export.predictions import load_finite_rows
from handkit.fit.refine import CROP_PX, SETTINGS, Evaluation, Refined, RefineSettings, refine_hands
from handkit.hand import HandModel
from handkit.refine.convergence import Film
from handkit.refine.crops import Crop, batch_of, build_crop
from handkit.refine.inputs import Pictures, Shot, Source, find_pictures, read_shots
from handkit.refine.masks import MaskChoice, projected_mask
from handkit.refine.options import RefineOptions
from handkit.refine.results import FILM, Outcome, refined_rows, write_csv, write_overlays, write_refined
from handkit.refine.texture import write_textures

_BATCH: Final = 32


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """What became of one predictions file; `failed` counts hands, the unreadable rows of the file among them."""

    predictions: str
    status: str
    why: str | None = None
    fix: str | None = None
    seconds: float = 0.0
    hands: int = 0
    refined: int = 0
    kept: int = 0
    failed: int = 0
    iou_before: float | None = None
    iou_after: float | None = None
    masks: str | None = None
    output: str | None = None

    @property
    def is_bad(self) -> bool:
        return self.status == "failed" or self.failed > 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class JobTools:
    """What all files of a run share."""

    options: RefineOptions
    out: Path
    masks: MaskChoice
    device: torch.device
    progress: Callable[[Iterable[Any], str, int | None], Iterable[Any]]
    on_error: Callable[[HandkitError], None]


class RefineJob:
    """The hands of one file."""

    def __init__(self, source: Source, tools: JobTools) -> None:
        self._source, self._tools = source, tools
        self._rows, self._unreadable = load_finite_rows(source.path)
        self._hands = HandPair(self._rows.hand_model)
        self._outcomes: dict[int, Outcome] = {}
        self._waiting: dict[bool, list[Crop]] = {True: [], False: []}
        self._film = Film() if tools.options.convergence else None

    def run(self) -> SourceRecord:
        """Refine, write, and say how it went."""
        started = time.monotonic()
        rows, options = self._rows, self._tools.options
        for row, name in self._unreadable.items():
            what = f"{self._source.path}: row {row} left out, {name} is not finite"
            self._tools.on_error(HandkitError(what, "make the predictions again with handkit demo"))
        pictures = find_pictures(self._source, rows, options.images)
        if len(rows) and not pictures.paths:
            raise next(iter(pictures.missing.values()))
        shots = read_shots(pictures, rows, options.rotate)
        for shot in self._tools.progress(shots, self._source.name, len(set(zip(rows.image, rows.frame, strict=True)))):
            if isinstance(shot, Shot):
                self._prepare(shot, is_video=str(rows.image[shot.rows[0]]) in pictures.videos)
            else:
                self._fail(shot[0], shot[1])
        for is_right in (True, False):
            self._refine(is_right)
        return self._write(pictures, time.monotonic() - started)

    def _prepare(self, shot: Shot, *, is_video: bool) -> None:
        rows, size = self._rows, (shot.image.shape[0], shot.image.shape[1])
        chosen = shot.rows.tolist()
        meshes = self._hands.vertices(rows, chosen)
        faces = [self._hands.model(bool(rows.is_right[row])).faces for row in chosen]
        drawn = [
            projected_mask(mesh, face, rows.K[row], size) for mesh, face, row in zip(meshes, faces, chosen, strict=True)
        ]
        for i, row in enumerate(chosen):
            try:
                if not drawn[i].any():
                    raise HandkitError("it covers no pixel of the image", "leave that hand out")
                mask = self._tools.masks.choose(shot.image, rows, row, drawn[i], is_video=is_video)
                others = np.zeros(size, bool)
                for k, other in enumerate(drawn):
                    others |= other if k != i else False
                pixels = meshes[i].astype(np.float64) @ rows.K[row].T
                with_image = self._film is not None and not self._film.is_full
                crop = build_crop(
                    row, pixels[:, :2] / pixels[:, 2:], mask, others & ~drawn[i], shot.image, with_image=with_image
                )
            except HandkitError as error:
                self._fail(np.array([row]), error)
                continue
            side = bool(rows.is_right[row])
            self._waiting[side].append(crop)
            if len(self._waiting[side]) >= _BATCH:
                self._refine(side)

    def _fail(self, chosen: np.ndarray, error: HandkitError) -> None:
        """Some hands that cannot be refined, said once for all of them."""
        names = ", ".join(dict.fromkeys(self._name(row) for row in chosen.tolist()[:3]))
        more = f" and {len(chosen) - 3} more" if len(chosen) > 3 else ""
        self._tools.on_error(HandkitError(f"{names}{more}: {error.what}", error.fix))
        for row in chosen.tolist():
            self._outcomes[row] = Outcome("failed", error.what, error.fix)

    def _name(self, row: int) -> str:
        rows = self._rows
        side = "right" if rows.is_right[row] else "left"
        return f"{rows.image[row]} frame {rows.frame[row]}, hand {rows.track_id[row]} ({side})"

    def _refine(self, is_right: bool) -> None:
        crops, self._waiting[is_right] = self._waiting[is_right], []
        if not crops:
            return
        hand, options = self._hands.model(is_right), self._tools.options
        state, view, keypoints = batch_of(crops, self._rows, hand, self._tools.device)
        film, place = self._film, self._film.next_place() if self._film else 0
        shown = [crop for crop in crops if crop.image is not None]

        def watch(iteration: int, found: Evaluation) -> None:
            if film is not None and place + len(shown) > 0 and shown:
                film.record(shown, found, place)

        refined = refine_hands(
            state,
            hand=hand,
            views=[view],
            keypoints=keypoints,
            free=options.free,
            iterations=options.iterations,
            settings=settings_of(options, hand),
            on_iteration=watch,
        )
        self._settle(crops, refined, hand)

    def _settle(self, crops: list[Crop], refined: Refined, hand: HandModel) -> None:
        state = refined.state
        offsets = state.vertex_offsets
        before = self._hands.vertices(self._rows, [crop.row for crop in crops])
        for i, crop in enumerate(crops):
            K = crop.transform @ self._rows.K[crop.row]
            target, size = crop.target > 0.5, crop.target.shape
            ious = [
                _iou(projected_mask(mesh, hand.faces, K, (size[0], size[1])), target, crop.valid)
                for mesh in (before[i], refined.vertices[i].cpu().numpy())
            ]
            losses = float(refined.loss_before[i]), float(refined.loss_after[i])
            arrays = {
                "global_orient": state.global_orient[i],
                "hand_pose": state.hand_pose[i],
                "betas": state.betas[i],
                "transl": state.transl[i],
                "joints_3d": refined.joints[i],
            }
            if offsets is not None:
                arrays["vertex_offsets"] = offsets[i]
            if not bool(refined.improved[i]):
                self._outcomes[crop.row] = Outcome("kept", "the loss did not fall", "", ious[0], ious[0], *losses)
                continue
            numbers = {name: value.cpu().numpy() for name, value in arrays.items()}
            self._outcomes[crop.row] = Outcome("refined", "", "", ious[0], ious[1], *losses, numbers)

    def _write(self, pictures: Pictures, seconds: float) -> SourceRecord:
        options, folder = self._tools.options, self._tools.out / self._source.name
        outcomes = [self._outcomes[row] for row in range(len(self._rows))]
        rows = refined_rows(self._rows, outcomes, f"{options.settings}, {self._tools.masks.name}")
        if options.overlay:
            write_overlays(folder, rows, pictures, self._hands, options.rotate)
        if self._film is not None:
            self._film.write(folder / FILM)
        if options.texture:
            refined = rows.rows(np.array([o.status == "refined" for o in outcomes], bool))
            write_textures(
                folder, refined, pictures, self._hands, self._tools.masks, options.rotate, options.texture_share
            )
        write_csv(folder, rows, outcomes)
        write_refined(folder, rows, self._hands, vertices=options.vertices)
        statuses = [outcome.status for outcome in outcomes]
        return SourceRecord(
            predictions=str(self._source.path),
            status="done",
            seconds=round(seconds, 3),
            hands=len(rows) + len(self._unreadable),
            refined=statuses.count("refined"),
            kept=statuses.count("kept"),
            failed=statuses.count("failed") + len(self._unreadable),
            iou_before=_mean([o.iou_before for o in outcomes]),
            iou_after=_mean([o.iou_after for o in outcomes]),
            masks=self._tools.masks.name,
            output=f"{self._source.name}/{HANDS}",
        )


def settings_of(options: RefineOptions, hand: HandModel) -> RefineSettings:
    """The setting asked for, with the weights that were changed."""
    settings = SETTINGS[options.settings](hand, CROP_PX)
    changed: dict[str, Any] = dict(options.weights)
    return replace(settings, weights=replace(settings.weights, **changed))


def _iou(drawn: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    union = ((drawn | target) & valid).sum()
    return float((drawn & target & valid).sum() / union) if union else float("nan")


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(finite)), 4) if finite else None
