"""What all inputs of one run share."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from handkit.demo.camera import CameraChoice
from handkit.demo.hands import HandPair
from handkit.demo.network import NetworkHands
from handkit.demo.options import DemoOptions
from handkit.demo.sources import SourceChoice
from handkit.demo.stereo.binocular import BinocularPairs
from handkit.errors import HandkitError

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass
class Caught:
    """The error that ended a block, if one did."""

    error: HandkitError | None = None


@dataclass(frozen=True, eq=False)
class Tools:
    """Options, and the parts built from them once; without a network the hands are fitted.

    pairs: a network that sees both views of a pair, and nothing of one.
    """

    options: DemoOptions
    out: Path
    hands: HandPair
    cameras: CameraChoice
    sources: SourceChoice
    force: bool
    show_progress: bool
    on_error: Callable[[HandkitError], None]
    debug: bool
    network: NetworkHands | None = None
    pairs: BinocularPairs | None = None

    @property
    def has_appearance(self) -> bool:
        """Whether hands have a texture and a light."""
        return self.network is not None and self.network.has_appearance

    @property
    def method(self) -> str:
        """How the hands were found, as hands.npz says it."""
        networks = [each.words for each in (self.pairs, self.network) if each is not None]
        fit = ["fit"] if self.network is None or self.options.refine_keypoints else []
        return " + ".join([self.sources.name, *networks, *fit])

    def progress(self, items: Iterable[T], title: str, total: int | None) -> Iterable[T]:
        """The items, with a bar on stderr where one is wanted."""
        if not self.show_progress:
            return items
        return tqdm(items, desc=title, total=total, leave=False, delay=1.0, dynamic_ncols=True)

    @contextmanager
    def catching(self, name: str) -> Iterator[Caught]:
        """Report an error and go on: one bad input does not stop the others. A bug rises when debugging."""
        caught = Caught()
        try:
            yield caught
        except HandkitError as error:
            caught.error = error
        except Exception as error:
            if self.debug:
                raise
            what = f"{name}: unexpected {type(error).__name__}: {error}"
            caught.error = HandkitError(what, "run again with --debug and report what it shows")
        if caught.error is not None:
            self.on_error(caught.error)
