"""Networks only."""

from handkit.nets.build import NETWORKS, build_network, load_network
from handkit.nets.handnet import HandNet, HandNetOutput, extend_with_stereo
from handkit.nets.handnet_system import build_handnet, load_handnet
from handkit.nets.heatmaps import keypoint_heatmaps
from handkit.nets.hourglass import HourglassNetwork, KeypointOutput
from handkit.nets.lixel import LixelNetwork, LixelOutput, soft_argmax, without_depth
from handkit.nets.lixel_system import build_lixel, load_lixel
from handkit.nets.s2hand import S2HandNetwork, S2HandOutput
from handkit.nets.s2hand_system import S2HandSystem, SystemOutput, build_system, load_system
from handkit.nets.sequence import SequenceNetwork, SequenceOutput
from handkit.nets.weak_hand import PARAMETERS, REST_SCALE, WeakHand, read_parameters

__all__ = [
    "NETWORKS",
    "PARAMETERS",
    "REST_SCALE",
    "HandNet",
    "HandNetOutput",
    "HourglassNetwork",
    "KeypointOutput",
    "LixelNetwork",
    "LixelOutput",
    "S2HandNetwork",
    "S2HandOutput",
    "S2HandSystem",
    "SequenceNetwork",
    "SequenceOutput",
    "SystemOutput",
    "WeakHand",
    "build_handnet",
    "build_lixel",
    "build_network",
    "build_system",
    "extend_with_stereo",
    "keypoint_heatmaps",
    "load_handnet",
    "load_lixel",
    "load_network",
    "load_system",
    "read_parameters",
    "soft_argmax",
    "without_depth",
]
