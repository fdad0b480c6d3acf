"""Shards of generated frames: tar files that hold the same bytes whenever and wherever they are written.

A shard holds whole sequences, one sample a frame: `<sequence:06d>_<frame:03d>.image.jpg` (or .png), `.mask.png` and
`.hand.npz`. It is written under a hidden name and moved into place, so that no half shard is ever read; what it holds
is noted beside it in `.shards/<name>.json`, last.
"""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handkit.errors import HandkitError
from handkit.files import atomic_path

NOTES: Final = ".shards"


class ShardNote(BaseModel):
    """What a finished shard holds; `digests` are its sequences' annotations (see `handkit.synth.digest`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    first: Annotated[int, Field(ge=0)]
    sequences: Annotated[int, Field(ge=1)]
    frames: Annotated[int, Field(ge=1)]
    bytes: Annotated[int, Field(ge=1)]
    sha256: str
    digests: list[str]
    statistics: dict[str, dict[str, int]]
    pictures_skipped: list[str] = []


def shard_name(kind: str, split: str, number: int) -> str:
    """The file's name, as in `seqhand-train-000000.tar`."""
    return f"{kind}-{split}-{number:06d}.tar"


def encode_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An uncompressed .npz whose bytes depend on nothing but the arrays."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())  # dated 1980
    return packed.getvalue()


def encode_image(image: NDArray[np.uint8], ending: str, *, jpeg_quality: int = 95) -> bytes:
    """RGB [H,W,3] or single-channel [H,W] as "jpg" or "png"."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if ending == "jpg" else []
    done, encoded = cv2.imencode(f".{ending}", bgr, options)
    if not done:
        raise HandkitError(f"a picture could not be encoded as {ending}", "choose jpg or png")
    return encoded.tobytes()


def write_shard(path: Path, parts: Iterable[tuple[str, bytes]]) -> tuple[int, str]:
    """Write the named parts, in their order, as a tar at `path`; gives its size in bytes and its sha256.

    Raises HandkitError where it cannot be written or the disk is full, and then leaves nothing behind.
    """
    with atomic_path(path) as partial:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in parts:
                member = tarfile.TarInfo(name)  # of 1970, user and group 0, without names
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
        return partial.stat().st_size, file_digest(partial)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def note_path(shard: Path) -> Path:
    """Where it is noted what a shard holds."""
    return shard.parent / NOTES / f"{shard.stem}.json"


def write_note(shard: Path, note: ShardNote) -> None:
    """To be called when the shard is in place."""
    with atomic_path(note_path(shard)) as partial:
        partial.write_bytes(orjson.dumps(note.model_dump()))


def finished_shard(shard: Path, *, fingerprint: str, sequences: int) -> ShardNote | None:
    """The note of a shard that is in place, whole, and of this run; None where it is to be made."""
    try:
        note = ShardNote.model_validate_json(note_path(shard).read_bytes())
        size = shard.stat().st_size
    except (OSError, ValidationError):
        return None
    same = (note.fingerprint, note.sequences, note.bytes) == (fingerprint, sequences, size)
    return note if same else None


def clear_temporaries(folder: Path, kind: str) -> int:
    """Remove what a killed run left half written; gives how many files."""
    left = [path for place in (folder, folder / NOTES) for path in place.glob(f".{kind}-*.part.*")]
    left += [path for name in ("dataset", "unfinished", "rig") for path in folder.glob(f".{name}.*.part.json")]
    for path in left:
        with suppress(OSError):
            path.unlink()
    return len(left)


def remove_shards(folder: Path, kind: str) -> None:
    """Remove every shard of this kind, its note, and what says which run made them."""
    notes = list((folder / NOTES).glob(f"{kind}-*.json"))
    named = [folder / "dataset.json", folder / "unfinished.json"]
    for path in [*named, *notes, *folder.glob(f"{kind}-*-??????.tar")]:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / NOTES).rmdir()
