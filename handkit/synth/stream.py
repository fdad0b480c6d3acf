"""Sequences for training without a disk: the same for the same (recipe, seed, split, index) as those in the shards."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from handkit.data.sample import collate, stack_samples
from handkit.data.seqhand import FrameDecoder
from handkit.labels import HAND
from handkit.recipe import load_recipe
from handkit.synth.job import SequenceJob
from handkit.synth.paint import Layer
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import HandSequence, SequenceMaker, Split

_AT_ONCE = 16


class SyntheticSequences(IterableDataset[dict[str, Any]]):
    """Yields whole sequences as `handkit.data.seqhand.SeqHandDataset` does, with the pictures as before JPEG.

    `recipe` is a name, a file or settings, `sequences` how many there are (None: without end), `first` the number to
    begin with; `poses`, `backgrounds` and `hand_model` as `handkit generate seqhand` takes them. DataLoader workers and
    ranks (those of torch.distributed, where it runs, unless given) share the numbers out, so that together they yield
    each once. Sources are loaded where it is iterated, unless a `maker` is given.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        recipe: str | SequenceRecipe = "seqhand",
        split: Split = "train",
        sequences: int | None = None,
        first: int = 0,
        poses: str = "builtin",
        backgrounds: Path | None = None,
        hand_model: str = "open",
        rank: int | None = None,
        ranks: int | None = None,
        maker: SequenceMaker | None = None,
    ) -> None:
        super().__init__()
        self.job = SequenceJob(
            out=Path(),  # nothing is written
            recipe=load_recipe(SequenceRecipe, recipe) if isinstance(recipe, str) else recipe,
            seed=seed,
            split=split,
            sequences=sequences or 0,
            poses=poses,
            backgrounds=backgrounds,
            hand_model=hand_model,
        )
        self.first, self.endless = first, sequences is None
        self._rank, self._ranks, self._maker = rank, ranks, maker

    def __iter__(self) -> Iterator[dict[str, Any]]:
        decoder = FrameDecoder(self.job.settings())
        for maker, sequence in self.drawn():
            yield build_sequence(decoder, sequence, *maker.render(sequence))

    def __getstate__(self) -> dict[str, Any]:
        # Workers load the sources themselves: quicker than to send them.
        return {**self.__dict__, "_maker": None}

    def drawn(self) -> Iterator[tuple[SequenceMaker, HandSequence]]:
        """The sequences that fall to this worker of this rank, without their pictures."""
        self._maker = maker = self._maker or self.job.make()
        numbers = self._numbers()
        while some := list(itertools.islice(numbers, _AT_ONCE)):
            for sequence in maker.annotate_many(some):
                yield maker, sequence

    def _numbers(self) -> Iterator[int]:
        share, shares = self._share_of_ranks()
        worker = get_worker_info()
        if worker is not None:
            share, shares = share + shares * worker.id, shares * worker.num_workers
        first = self.first + share
        return itertools.count(first, shares) if self.endless else iter(range(first, self.job.sequences, shares))

    def _share_of_ranks(self) -> tuple[int, int]:
        if self._rank is not None and self._ranks is not None:
            return self._rank, self._ranks
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def build_sequence(
    decoder: FrameDecoder, sequence: HandSequence, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> dict[str, Any]:
    """The stacked sample of a sequence, its pictures [T, H, W, 3] and mask labels [T, H, W]."""
    arrays, frames = sequence.annotations(), []
    for frame, (image, label) in enumerate(zip(images, labels, strict=True)):
        row = {name: values[frame] for name, values in arrays.items()}
        channels = np.ascontiguousarray(image.transpose(2, 0, 1))
        frames.append(decoder.build(channels, label, row, sequence=f"{sequence.index:06d}", frame=frame))
    return stack_samples(frames)


class PaintedSequences:
    """Batches of sequences [B, T, ...] with pictures painted on a device, in `batch`es, by `workers` that draw them.

    Annotations are those of `SyntheticSequences`; so are masks, and pictures up to rounding and the sensor's noise,
    which comes of the device's own generator. Batches are the same for the same number of workers.
    """

    def __init__(
        self, sequences: SyntheticSequences, *, device: torch.device | str, batch: int = 32, workers: int = 0
    ) -> None:
        self.sequences, self.device = sequences, torch.device(device)
        context = "spawn" if workers else None
        self._loader: DataLoader[Any] = DataLoader(
            _Drawn(sequences), batch_size=batch, num_workers=workers, collate_fn=list, multiprocessing_context=context
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for drawn in self._loader:
            painted = paint_on(self.device, drawn)
            samples = collate([sample for sample, *_ in drawn])
            images = torch.stack([images for images, _ in painted]).permute(0, 1, 4, 2, 3).contiguous()
            masks = torch.stack([labels == HAND for _, labels in painted]).to(torch.uint8)
            yield {**samples, "image": images, "mask": masks}


Drawn = tuple[dict[str, Any], HandSequence, list[Layer], NDArray[np.uint8], int]


class _Drawn(IterableDataset[Drawn]):
    """Samples without pictures, and what pictures are painted from."""

    def __init__(self, sequences: SyntheticSequences) -> None:
        super().__init__()
        self.sequences = sequences

    def __iter__(self) -> Iterator[Drawn]:
        decoder = FrameDecoder(self.sequences.job.settings())
        for maker, sequence in self.sequences.drawn():
            blank = np.zeros((len(sequence.s), 1, 1, 3), np.uint8)
            sample = build_sequence(decoder, sequence, blank, blank[..., 0])
            yield sample, sequence, maker.layers(sequence), maker.background(sequence), maker.recipe.supersample


def paint_on(
    device: torch.device, drawn: Iterable[Drawn]
) -> list[tuple[UInt8[Tensor, "T H W 3"], UInt8[Tensor, "T H W"]]]:
    """Pictures and mask labels of each sequence; those of the same faces are painted together."""
    everything = list(drawn)
    groups: dict[bytes, list[int]] = {}
    for number, (_, _, layers, _, fine) in enumerate(everything):
        same = b"".join(layer.faces.tobytes() for layer in layers) + bytes([fine])
        groups.setdefault(same, []).append(number)
    painted: dict[int, tuple[Tensor, Tensor]] = {}
    for numbers in groups.values():
        images, labels = _paint_group(device, [everything[number] for number in numbers])
        for number, image, label in zip(numbers, images, labels, strict=True):
            painted[number] = (_develop(image, everything[number][1]), label)
    return [painted[number] for number in range(len(everything))]


def _paint_group(device: torch.device, group: list[Drawn]) -> tuple[Tensor, Tensor]:
    """Pictures [N, T, H, W, 3] and labels [N, T, H, W] of sequences whose meshes have the same faces."""
    from handkit.synth.paint_batch import paint_batch

    first = group[0][2]
    starts = np.cumsum([0, *(layer.points_px.shape[1] for layer in first[:-1])])
    faces = np.concatenate([layer.faces + start for layer, start in zip(first, starts, strict=True)])
    labels = np.repeat([layer.label for layer in first], [len(layer.faces) for layer in first]).astype(np.uint8)
    joined = [[np.concatenate(parts, axis=-2) for parts in _parts(layers)] for _, _, layers, _, _ in group]
    points, normals, colors = (np.stack(arrays) for arrays in zip(*joined, strict=True))
    count, frames = points.shape[:2]

    def on_device(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    images, shown = paint_batch(
        on_device(np.concatenate([background for *_, background, _ in group])),
        on_device(points).flatten(0, 1),
        on_device(normals.astype(np.float32)).flatten(0, 1),
        on_device(colors.astype(np.float32)).repeat_interleave(frames, 0),
        on_device(faces),
        on_device(labels),
        lights=[sequence.appearance.light for _, sequence, *_ in group for _ in range(frames)],
        supersample=group[0][4],
    )
    return images.unflatten(0, (count, frames)), shown.unflatten(0, (count, frames))


def _parts(layers: list[Layer]) -> Iterator[list[NDArray[Any]]]:
    yield [layer.points_px for layer in layers]
    yield [layer.normals for layer in layers]
    yield [layer.colors for layer in layers]


def _develop(images: UInt8[Tensor, "T H W 3"], sequence: HandSequence) -> UInt8[Tensor, "T H W 3"]:
    """`handkit.synth.appearance.develop` where the pictures are."""
    look = sequence.appearance
    if look.blur_px <= 0 and look.noise <= 0:
        return images
    values = images.permute(0, 3, 1, 2).float()
    if look.blur_px > 0:
        at = torch.arange(-1, 2, device=images.device)
        kernel = torch.exp(-0.5 * (at / look.blur_px) ** 2)
        kernel = (kernel / kernel.sum()).expand(3, 1, 1, 3)
        padded = torch.nn.functional.pad(values, (1, 1, 1, 1), mode="reflect")
        values = torch.nn.functional.conv2d(padded, kernel, groups=3)
        values = torch.nn.functional.conv2d(values, kernel.transpose(2, 3), groups=3)
    if look.noise > 0:
        generator = torch.Generator(images.device).manual_seed(sequence.index)
        noise = torch.randn(values.shape, device=images.device, generator=generator)
        values = values + 255 * look.noise * noise
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
