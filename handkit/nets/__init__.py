"""Networks only."""

from handkit.nets.build import NETWORKS, build_network, load_network
from handkit.nets.sequence import SequenceNetwork, SequenceOutput
from handkit.nets.weak_hand import PARAMETERS, REST_SCALE, WeakHand, read_parameters

__all__ = [
    "NETWORKS",
    "PARAMETERS",
    "REST_SCALE",
    "SequenceNetwork",
    "SequenceOutput",
    "WeakHand",
    "build_network",
    "load_network",
    "read_parameters",
]
