"""Networks by name: the published ones, a compact one, and the variants that they are compared with."""

import difflib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, Final, NamedTuple, TypeVar

from torch import Tensor, nn

from handkit.checkpoint import CheckpointInfo, load_state, read_checkpoint
from handkit.errors import HandkitError
from handkit.nets.backbones import WeightsPath
from handkit.nets.inflated import InflatedNetwork
from handkit.nets.motion_filter import MotionFilterNetwork
from handkit.nets.seqhand import SeqHandLstm, SeqHandNetwork
from handkit.nets.seqhand_frame import FrameNetwork
from handkit.nets.sequence import SequenceNetwork

logger = logging.getLogger("handkit")

Network = TypeVar("Network", bound=nn.Module)


class NetworkKind(NamedTuple):
    """The class of a network, and the arguments it is built with unless told otherwise."""

    build: Callable[..., SequenceNetwork]
    arguments: Mapping[str, Any]


_SMALL: Final = {"backbone": "regnet_x_400mf", "latent": 320, "hidden": 128}

NETWORKS: Final = {
    "seqhand": NetworkKind(SeqHandNetwork, {"backbone": "resnet50", "latent": 1536, "hidden": 256, "remembers": True}),
    "seqhand-resnet50": NetworkKind(FrameNetwork, {"backbone": "resnet50"}),
    "seqhand-resnet101": NetworkKind(FrameNetwork, {"backbone": "resnet101"}),
    "seqhand-lstm": NetworkKind(SeqHandLstm, {"backbone": "resnet50", "hidden": 1024}),
    "seqhand-i3d": NetworkKind(InflatedNetwork, {}),
    "seqhand-mfnet": NetworkKind(MotionFilterNetwork, {}),
    "seqhand-small": NetworkKind(SeqHandNetwork, {**_SMALL, "remembers": True}),
    "seqhand-small-frame": NetworkKind(SeqHandNetwork, {**_SMALL, "remembers": False}),
    # S2HAND's Fig. 5: "directly estimates MANO parameters with a CNN", its backbone S2HAND's.
    "mano-cnn": NetworkKind(FrameNetwork, {"backbone": "efficientnet_b0"}),
}


class OtherNetwork(NamedTuple):
    """What a network that is none of `NETWORKS` is; `refused` and `fix` are told where one of them was wanted."""

    words: str
    refused: str
    fix: str


_POSE_ENCODER: Final = "a pose encoder, which sees joints and no images"

_OTHER_NETWORKS: Final = {
    "pose-encoder": OtherNetwork(_POSE_ENCODER, _POSE_ENCODER, "give a checkpoint of `handkit pretrain seqhand`"),
    "s2hand": OtherNetwork(
        "an S2HAND network of `handkit selfsup s2hand`",
        "an S2HAND network, not one of SeqHAND's",
        "use it with --method s2hand, or `handkit selfsup`",
    ),
    "handnet": OtherNetwork(
        "a HandNet, for --method handnet",
        "a HandNet, not one of SeqHAND's networks",
        "use it with --method handnet",
    ),
    "lixel": OtherNetwork(
        "a lixel network of `handkit pretrain hand-prior` or `handkit selfsup binocular`",
        "a lixel network, not one of SeqHAND's networks",
        "use it with --method binocular",
    ),
}


def build_network(name: str, *, backbone_weights: WeightsPath | None = None, **arguments: Any) -> SequenceNetwork:
    """An untrained network; `arguments` are those that `NETWORKS` lists for it.

    `backbone_weights` is torchvision's ImageNet state dict, .pth or .safetensors; without it the backbone is random,
    which is logged. Raises HandkitError for an unknown name or argument, or a file of another network.
    """
    network = _construct(name, arguments, backbone_weights)
    if backbone_weights is None:
        logger.warning("the backbone of %s starts random: give torchvision's ImageNet weights if you have them", name)
    return network


def load_network(path: str | PathLike[str]) -> tuple[SequenceNetwork, CheckpointInfo]:
    """A checkpoint's network in evaluation mode, on the CPU in float32, and what the checkpoint says of itself.

    Raises HandkitError where the file is damaged or holds another kind of network.
    """
    info, state = read_checkpoint(path)
    arguments = dict(info.network)
    name = arguments.pop("name", None)
    other = _OTHER_NETWORKS.get(str(name))
    if other is not None:
        raise HandkitError(f"{path} is {other.refused}", other.fix)
    return rebuild(path, state, lambda: _construct(name, arguments, None)), info


def load_only(
    path: str | PathLike[str], name: str, words: str, train: str, build: Callable[[dict[str, Any]], Network]
) -> tuple[Network, CheckpointInfo]:
    """The network of a checkpoint that must be of `name`, as `build` makes it of its arguments.

    In evaluation mode, on the CPU in float32. Raises HandkitError, "is ..., no {words}" with the way out `train`, where
    the file is damaged or holds another kind of network.
    """
    info, state = read_checkpoint(path)
    arguments = dict(info.network)
    found = arguments.pop("name", None)
    if found != name:
        raise HandkitError(f"{path} is {words_of_network(found)}, no {words}", train)
    return rebuild(path, state, lambda: build(arguments)), info


def check_arguments(kind: type[nn.Module], arguments: Iterable[str]) -> None:
    """Raise HandkitError for an argument that the class of a network does not take, weights of a backbone aside."""
    known = [name for name in inspect.signature(kind).parameters if name != "backbone_weights"]
    for argument in arguments:
        if argument not in known:
            raise HandkitError(f"{kind.__name__} has no argument {argument!r}", nearest(argument, known))


def rebuild(path: str | PathLike[str], state: Mapping[str, Tensor], build: Callable[[], Network]) -> Network:
    """What `build` gives, with a checkpoint's values, in evaluation mode.

    Raises HandkitError, which names the file, where it cannot be built or is of another architecture.
    """
    try:
        network = build()
    except HandkitError as error:
        raise HandkitError(f"{path}: {error.what}", error.fix) from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise HandkitError(
            f"{path}: its network cannot be rebuilt ({error})", "it is damaged: fetch or train it again"
        ) from error
    load_state(network, state, path)
    return network.eval()


def words_of_network(name: Any) -> str:
    """What a checkpoint's network is, by its name: "is {words}, no ..."."""
    if name in NETWORKS:
        return f"a sequence network ({name}) of `handkit pretrain seqhand`"
    return _OTHER_NETWORKS[name].words if name in _OTHER_NETWORKS else f"a network {name!r}"


def _construct(name: Any, arguments: Mapping[str, Any], backbone_weights: WeightsPath | None) -> SequenceNetwork:
    if name not in NETWORKS:
        raise HandkitError(f"there is no network {name!r}", nearest(name, NETWORKS))
    kind = NETWORKS[name]
    for argument in arguments:
        if argument not in kind.arguments:
            raise HandkitError(f"{name} has no argument {argument!r}", nearest(argument, kind.arguments))
    return kind.build(name, **{**kind.arguments, **arguments}, backbone_weights=backbone_weights)


def nearest(name: Any, known: Iterable[str]) -> str:
    """The way out of a mistyped name: the one that was probably meant, and all there are."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    listed = ", ".join(known) or "none"
    return f"did you mean {close[0]}? There are {listed}" if close else f"there are {listed}"
