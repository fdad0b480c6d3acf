"""Networks on disk: safetensors with what rebuilds them, and the state from which a run goes on.

A checkpoint's metadata has one key, `handkit`: the JSON of `CheckpointInfo`. Only a network's own parameters and
buffers are stored; hand models keep their arrays out of the state dict.
"""

import io
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from handkit.errors import HandkitError
from handkit.files import atomic_path

_KEY = "handkit"
_DAMAGED = "it was cut off or is of another kind: fetch or train it again"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself; all of it plain JSON values.

    `network` holds the arguments that rebuild the network, with its `name`; `data` what it was trained on, with the
    `hand` model's name where one was part of the training.
    """

    method: str
    network: dict[str, Any]
    recipe: dict[str, Any]
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: str | os.PathLike[str], network: nn.Module, info: CheckpointInfo, *, half: bool = False
) -> None:
    """Write the network's state; with `half` its floating point values as fp16.

    Raises HandkitError where it cannot be written, or a value does not fit fp16; an older file then stays as it was.
    """
    state = {}
    for name, value in network.state_dict().items():
        stored = value.detach().cpu()
        if half and stored.is_floating_point():
            stored = stored.half()
            if torch.isfinite(value).all() and not torch.isfinite(stored).all():
                raise HandkitError(f"{name} has values beyond fp16", "store the network in full precision")
        state[name] = stored.contiguous()
    with atomic_path(path) as partial:
        partial.write_bytes(save(state, metadata={_KEY: json.dumps(asdict(info))}))


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """What a checkpoint holds, on the CPU. Raises HandkitError for a file that is missing, damaged or not handkit's."""
    if not Path(path).is_file():
        raise HandkitError(f"{path} is no file", "check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise HandkitError(f"{path} is no readable safetensors file ({error})", _DAMAGED) from error
    if _KEY not in metadata:
        raise HandkitError(f"{path} says nothing of the network it holds", "give a checkpoint that handkit wrote")
    try:
        return CheckpointInfo(**json.loads(metadata[_KEY])), state
    except (ValueError, TypeError) as error:
        raise HandkitError(f"{path}: its metadata cannot be read ({error})", _DAMAGED) from error


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Fill a network with a checkpoint's values, in the network's own precision; nothing missing, nothing over.

    Raises HandkitError, naming the first difference, where the state is of another architecture or not finite.
    """
    own = network.state_dict()
    difference = _first_difference(own, state)
    if difference is not None:
        raise HandkitError(
            f"{path} is of another network: {difference}", "give the checkpoint of this network, or this one's recipe"
        )
    broken = next((name for name, value in state.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise HandkitError(f"{path}: {broken} has values that are not finite", _DAMAGED)
    network.load_state_dict(dict(state))


def _first_difference(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    for name, value in own.items():
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != value.shape:
            return f"{name} is {list(state[name].shape)}, not {list(value.shape)}"
    return next((f"{name} is over" for name in state if name not in own), None)


def find_weights(name: str, *, or_else: str | None = None) -> Path:
    """The file of shipped or own weights called `name` (with its ending), else `or_else`; the first that is found.

    Looked for in the package's weights, in HANDKIT_WEIGHTS (a folder or the file itself) and in ./weights. Raises
    HandkitError, naming the command that trains them.
    """
    package = Path(__file__).resolve().parent
    places = [package / "weights"]
    if (package.parent / "pyproject.toml").is_file():
        places.append(package.parent / "weights")
    if named := os.environ.get("HANDKIT_WEIGHTS"):
        places.append(Path(named).expanduser())
    places.append(Path("weights"))
    for wanted in (name, or_else):
        for place in places:
            if wanted is not None and place.name == wanted and place.is_file():
                return place
            if wanted is not None and (place / wanted).is_file():
                return place / wanted
    stem = Path(name).stem
    raise HandkitError(
        f"no weights {name} were found",
        f"train them with `handkit pretrain {stem} --out DIR` and name DIR in HANDKIT_WEIGHTS",
    )


def save_resume(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write the state of a run: tensors, numbers, text, and lists and dicts of these."""
    held = io.BytesIO()  # torch and safetensors hide a full disk behind errors of their own
    torch.save(state, held)
    with atomic_path(path) as partial:
        partial.write_bytes(held.getbuffer())


def load_resume(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state of a run. Raises HandkitError for a file that is damaged or holds anything but plain values."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise HandkitError(
            f"{path} cannot be read ({str(error).splitlines()[0]})", "start the run over with --force"
        ) from error
    if not isinstance(state, dict):
        raise HandkitError(f"{path} holds no state of a run", "start the run over with --force")
    return state
