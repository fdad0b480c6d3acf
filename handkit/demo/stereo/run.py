"""`handkit demo --stereo`: the method that is asked for, and the one unit of work."""

import time
from pathlib import Path
from typing import Any

from handkit.demo.network import HandNetHands
from handkit.demo.options import ONLY_PAIRS, PAIR_METHODS, STEREO_CAMERAS, DemoOptions
from handkit.demo.stereo.alone import FittedViews, ViewMethod
from handkit.demo.stereo.inputs import PairUnit, find_pairs
from handkit.demo.stereo.job import StereoJob
from handkit.demo.stereo.method import HandNetPairs, PairMethod
from handkit.demo.stereo.views import read_stereo_rig
from handkit.demo.summary import InputRecord, failed
from handkit.demo.tools import Tools
from handkit.errors import HandkitError
from handkit.hand.stereo import CameraFusion


def check_stereo(options: DemoOptions) -> None:
    """Raise HandkitError where the options ask for what two views cannot do together."""
    if options.stereo is None:
        if options.rig is not None:
            raise HandkitError("--rig without --stereo", "give the views: --stereo LEFT RIGHT --rig FILE")
        if options.method in ONLY_PAIRS:
            what = f"--method {options.method} sees two views at once, and there is one"
            raise HandkitError(what, "give both, and their cameras: --stereo LEFT RIGHT --rig FILE")
        return
    if options.rig is None:
        what = "--stereo without --rig: the cameras are not calibrated"
        raise HandkitError(what, "give K, R and T of both by --rig FILE, handkit's JSON or OpenCV's YAML")
    if options.method not in PAIR_METHODS:
        what = f"--stereo: --method {options.method} sees one view at a time, {', '.join(PAIR_METHODS)} sees both"
        fix = f"give --method {PAIR_METHODS[0]}; or run demo on each view, then handkit refine with --rig"
        raise HandkitError(what, fix)
    if options.stereo_camera != STEREO_CAMERAS[0] and options.method in ONLY_PAIRS:
        what = f"--stereo-camera {options.stereo_camera}: --method {options.method} places hands by their disparity"
        raise HandkitError(what, "leave --stereo-camera out")


def build_method(tools: Tools) -> PairMethod:
    """The method of both views by what was loaded; raises HandkitError for weights that cannot see them."""
    if tools.pairs is not None:
        return tools.pairs
    assert isinstance(tools.network, HandNetHands)
    camera: CameraFusion = "triangulated" if tools.options.stereo_camera == "triangulated" else "average"
    return HandNetPairs(tools.network.predictor, tools.hands, camera)


def build_alone(tools: Tools) -> ViewMethod:
    """What poses each view alone: the network where it can, else the fit."""
    if tools.network is not None:
        return tools.network
    return FittedViews(tools.hands, tools.sources.landmarks, tools.options.smooth)


def run_stereo(tools: Tools, method: PairMethod | None = None) -> tuple[list[InputRecord], dict[str, Any] | None]:
    """Do the two views; a record per file, and the figures, None where they failed.

    Raises HandkitError for a rig that is no calibrated pair, and for views that are not there.
    """
    options = tools.options
    assert options.stereo is not None
    assert options.rig is not None
    method = method or build_method(tools)
    rig = read_stereo_rig(options.rig)
    unit = find_pairs(*options.stereo)
    started = time.monotonic()
    with tools.catching(unit.name) as caught:
        return StereoJob(unit, rig, tools, method, build_alone(tools)).run()
    assert caught.error is not None
    return _failed(unit, caught.error, time.monotonic() - started), None


def _failed(unit: PairUnit, error: HandkitError, seconds: float) -> list[InputRecord]:
    files: tuple[Path, ...] = unit.left + unit.right
    return [failed(path, unit.kind, error, round(seconds / len(files), 3)) for path in files]
