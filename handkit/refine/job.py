"""One predictions file refined, or one per calibrated view: pictures read one by one, hands refined in batches.

What is refined is kept in pieces until the results are written, so that an interrupted run can go on.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from handkit.demo.hands import HandPair
from handkit.demo.results import HANDS
from handkit.errors import HandkitError
from handkit.fit.refine import Evaluation
from handkit.refine.batch import Ready, refine_batch
from handkit.refine.convergence import Film
from handkit.refine.crops import Crop, build_crop
from handkit.refine.inputs import Shot, Source, read_shots
from handkit.refine.masks import MaskChoice, projected_mask
from handkit.refine.options import RefineOptions
from handkit.refine.pieces import Pieces, Place
from handkit.refine.records import SourceRecord, check_replaceable, read_marker, write_marker
from handkit.refine.results import FILM, Outcome, refined_rows, write_csv, write_overlays, write_refined
from handkit.refine.rig import Rig
from handkit.refine.seen import open_seen
from handkit.refine.texture import write_textures
from handkit.refine.together import Group, match_views

_BATCH: Final = 32


@dataclass(frozen=True, eq=False)
class JobTools:
    """What all files of a run share."""

    options: RefineOptions
    out: Path
    masks: MaskChoice
    rig: Rig | None
    device: torch.device
    progress: Callable[[Iterable[Any], str, int | None], Iterable[Any]]
    on_error: Callable[[HandkitError], None]


class RefineJob:
    """The hands of one file, or of one per camera of the rig."""

    def __init__(self, sources: Sequence[Source], tools: JobTools) -> None:
        self._tools = tools
        self._views = open_seen(sources, tools.rig, tools.options, tools.masks)
        self._folders = [tools.out / source.name for source in sources]
        files = [path for seen in self._views for path in (seen.source.path, *seen.pictures.paths.values())]
        self._fingerprint = tools.options.fingerprint(files)
        self._pieces = Pieces(self._folders[0], self._fingerprint)
        self._hands = HandPair(self._views[0].rows.hand_model)
        self._outcomes: dict[Place, Outcome] = {}
        self._groups: dict[int, Group] = {}
        self._crops: dict[int, dict[int, Crop]] = {}
        self._waiting: dict[tuple[bool, tuple[int, ...]], list[Ready]] = {}
        self._film = Film() if tools.options.convergence else None

    def settled(self) -> list[SourceRecord] | None:
        """The records of an earlier run that did the same, None unless it did all of it."""
        records = [read_marker(folder, self._fingerprint) for folder in self._folders]
        found = [record for record in records if record is not None]
        if len(found) < len(records):
            return None
        self._pieces.remove()
        return [replace(r, predictions=str(v.source.path)) for r, v in zip(found, self._views, strict=True)]

    def run(self, *, force: bool) -> list[SourceRecord]:
        """Refine, write, and say how it went; what is done already is not done again, unless by force."""
        if not force and (earlier := self.settled()) is not None:
            return earlier
        for folder in self._folders:
            check_replaceable(folder, [seen.source.path for seen in self._views], force=force)
        started = time.monotonic()
        for seen in self._views:
            for row, name in seen.unreadable.items():
                what = f"{seen.source.path}: row {row} left out, {name} is not finite"
                self._tools.on_error(HandkitError(what, "make the predictions again with handkit demo"))
            if len(seen.rows) and not seen.pictures.paths:
                raise next(iter(seen.pictures.missing.values()))
        if force:
            self._pieces.remove()
        self._outcomes = self._pieces.load()
        resumed = set(self._outcomes)
        self._match()
        for v, shot in self._shots():
            if isinstance(shot, Shot):
                self._prepare(v, shot)
            else:
                self._fail(v, shot[0], shot[1])
        for key in sorted(self._waiting, reverse=True):
            self._refine(key)
        seconds = time.monotonic() - started
        records = [self._write(v, seconds, sum(view == v for view, _ in resumed)) for v in range(len(self._views))]
        for folder, record in zip(self._folders, records, strict=True):
            write_marker(folder, self._fingerprint, record)
        self._pieces.remove()
        return records

    def _match(self) -> None:
        matched = match_views(self._views, self._tools.rig)
        self._views, self._keys, self._unit_m = matched.views, matched.keys, matched.unit_m
        self._groups = dict(enumerate(matched.groups))
        self._group_of = {(v, row): i for i, group in self._groups.items() for v, row in group.members.items()}

    def _shots(self) -> Iterator[tuple[int, Shot | tuple[np.ndarray, HandkitError]]]:
        """All views' pictures that have something left to do, those of one time together."""

        def of_view(v: int, left: np.ndarray) -> Iterator[tuple[int, int, Any]]:
            seen = self._views[v]
            for shot in read_shots(seen.pictures, seen.rows.rows(left), self._tools.options.rotate):
                own = left[shot.rows if isinstance(shot, Shot) else shot[0]]
                found = replace(shot, rows=own) if isinstance(shot, Shot) else (own, shot[1])
                yield int(self._keys[v][own[0]]), v, found

        streams, total = [], 0
        for v, seen in enumerate(self._views):
            # Pictures with a hand left: the others in it are drawn to be left out.
            todo = [row for row in range(len(seen.rows)) if (v, row) not in self._outcomes]
            pictures = set(zip(seen.rows.image[todo], seen.rows.frame[todo], strict=True))
            names = zip(seen.rows.image, seen.rows.frame, strict=True)
            left = np.array([i for i, name in enumerate(names) if name in pictures], np.int64)
            streams.append(of_view(v, left))
            total += len(pictures)
        merged = heapq.merge(*streams, key=lambda item: item[0])
        title = ", ".join(seen.source.name for seen in self._views)
        return ((v, shot) for _, v, shot in self._tools.progress(merged, title, total))

    def _prepare(self, v: int, shot: Shot) -> None:
        seen, size = self._views[v], (shot.image.shape[0], shot.image.shape[1])
        rows, chosen = seen.rows, shot.rows.tolist()
        meshes = self._hands.vertices(rows, chosen)
        faces = [self._hands.model(bool(rows.is_right[row])).faces for row in chosen]
        drawn = [
            projected_mask(mesh, face, rows.K[row], size) for mesh, face, row in zip(meshes, faces, chosen, strict=True)
        ]
        is_video = str(rows.image[chosen[0]]) in seen.pictures.videos
        todo = [i for i, row in enumerate(chosen) if (v, row) not in self._outcomes]
        shown = [i for i in todo if drawn[i].any()]
        picked = [chosen[i] for i in shown]
        found = seen.masks.choose(shot.image, rows, picked, [drawn[i] for i in shown], is_video=is_video)
        masks = dict(zip(picked, found, strict=True))
        for i in todo:
            row = chosen[i]
            try:
                mask = masks.get(row, HandkitError("it covers no pixel of the image", "leave that hand out"))
                if isinstance(mask, HandkitError):
                    raise mask
                others = seen.masks.unsaid(mask, meshes[i], faces[i], rows.K[row])
                for k, other in enumerate(drawn):
                    others |= other if k != i else False
                with_image = self._film is not None and not self._film.is_full
                hidden = others & ~drawn[i]
                crop = build_crop(row, meshes[i], rows.K[row], mask, hidden, shot.image, with_image=with_image)
            except HandkitError as error:
                self._fail(v, np.array([row]), error)
                continue
            i_group = self._group_of[v, row]
            self._crops.setdefault(i_group, {})[v] = crop
            self._queue(i_group)

    def _fail(self, v: int, chosen: np.ndarray, error: HandkitError) -> None:
        """Some hands that cannot be refined, said once for all of them."""
        seen, left = self._views[v], [row for row in chosen.tolist() if (v, row) not in self._outcomes]
        if not left:
            return
        names = ", ".join(dict.fromkeys(seen.name_of(row) for row in left[:3]))
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        self._tools.on_error(HandkitError(f"{names}{more}: {error.what}", error.fix))
        for row in left:
            self._outcomes[v, row] = Outcome("failed", error.what, error.fix)
            i_group = self._group_of[v, row]
            self._groups[i_group] = self._groups[i_group].without(v)
            self._queue(i_group)

    def _queue(self, i_group: int) -> None:
        """Put a hand among those to refine once every view has come."""
        group = self._groups[i_group]
        if not group.members or len(self._crops.get(i_group, {})) < len(group.members):
            return
        crops = self._crops.pop(i_group)
        order = tuple(sorted(group.members))
        ordered = replace(group, members={v: group.members[v] for v in order})
        key = bool(self._views[order[0]].rows.is_right[group.members[order[0]]]), order
        waiting = self._waiting.setdefault(key, [])
        waiting.append(Ready(ordered, {v: crops[v] for v in order}))
        if len(waiting) >= _BATCH:
            self._refine(key)

    def _refine(self, key: tuple[bool, tuple[int, ...]]) -> None:
        batch = self._waiting.pop(key)
        film, place = self._film, self._film.next_place() if self._film else 0
        # A film is made from the start: its hands are done again.
        lasting = film is None or film.is_full
        shown = [ready.crops[key[1][0]] for ready in batch]

        def watch(iteration: int, found: Evaluation) -> None:
            if film is not None:
                film.record(shown, found, place)

        hand = self._hands.model(key[0])
        found = refine_batch(batch, self._views, hand, self._tools.options, self._tools.device, watch)
        self._outcomes |= found
        if lasting:
            self._pieces.save(list(found), list(found.values()))

    def _write(self, v: int, seconds: float, resumed: int) -> SourceRecord:
        options, seen, folder = self._tools.options, self._views[v], self._folders[v]
        outcomes = [self._outcomes[v, row] for row in range(len(seen.rows))]
        rows = refined_rows(seen.rows, outcomes, f"{options.settings}, {seen.masks.name}")
        if options.overlay:
            write_overlays(folder, rows, seen.pictures, self._hands, options.rotate)
        if self._film is not None and v == 0:
            self._film.write(folder / FILM)
        if options.texture:
            refined = rows.rows(np.array([o.status == "refined" for o in outcomes], bool))
            share = options.texture_share
            write_textures(folder, refined, seen.pictures, self._hands, seen.masks, options.rotate, share)
        write_csv(folder, rows, outcomes)
        write_refined(folder, rows, self._hands, vertices=options.vertices)
        statuses = [outcome.status for outcome in outcomes]
        return SourceRecord(
            predictions=str(seen.source.path),
            status="done",
            seconds=round(seconds, 3),
            hands=len(rows) + len(seen.unreadable),
            refined=statuses.count("refined"),
            kept=statuses.count("kept"),
            failed=statuses.count("failed") + len(seen.unreadable),
            together=sum(outcome.views > 1 for outcome in outcomes),
            resumed=resumed,
            rig_unit_m=self._unit_m,
            iou_before=_mean([o.iou_before for o in outcomes]),
            iou_after=_mean([o.iou_after for o in outcomes]),
            masks=seen.masks.name,
            output=f"{seen.source.name}/{HANDS}",
        )


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(finite)), 4) if finite else None
