"""Networks only."""

from handkit.nets.build import NETWORKS, build_network, load_network
from handkit.nets.hourglass import HourglassNetwork, KeypointOutput
from handkit.nets.s2hand import S2HandNetwork, S2HandOutput
from handkit.nets.s2hand_system import S2HandSystem, SystemOutput, build_system, load_system
from handkit.nets.sequence import SequenceNetwork, SequenceOutput
from handkit.nets.weak_hand import PARAMETERS, REST_SCALE, WeakHand, read_parameters

__all__ = [
    "NETWORKS",
    "PARAMETERS",
    "REST_SCALE",
    "HourglassNetwork",
    "KeypointOutput",
    "S2HandNetwork",
    "S2HandOutput",
    "S2HandSystem",
    "SequenceNetwork",
    "SequenceOutput",
    "SystemOutput",
    "WeakHand",
    "build_network",
    "build_system",
    "load_network",
    "load_system",
    "read_parameters",
]
