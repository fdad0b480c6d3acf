"""MediaPipe's hand graphs driven directly, so that each hand keeps its own presence score.

`mediapipe.solutions.hands` runs the same graph but drops the presence score; and it cannot run the landmark network on
a region of our choice. Names of inner streams are those of mediapipe 0.10.21.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from handkit.errors import HandkitError

_TRACKING_GRAPH = "mediapipe/modules/hand_landmark/hand_landmark_tracking_cpu.binarypb"
_REGION_GRAPH = """
input_stream: "IMAGE:image"
input_stream: "ROI:single_hand_rect"
input_side_packet: "MODEL_COMPLEXITY:model_complexity"
node {
  calculator: "HandLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:single_hand_rect"
  output_stream: "LANDMARKS:single_hand_landmarks"
  output_stream: "WORLD_LANDMARKS:single_hand_world_landmarks"
  output_stream: "HANDEDNESS:single_handedness"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
}
"""
_LANDMARKS, _WORLD, _SIDE = "single_hand_landmarks", "single_hand_world_landmarks", "single_handedness"
_PRESENCE, _REGION = "handlandmarkcpu__hand_presence_score", "single_hand_rect"
_PRESENCE_GATE = "handlandmarkcpu__ThresholdingCalculator"
_PALM_GATE = "palmdetectioncpu__TensorsToDetectionsCalculator"
_CHATTER = re.compile(
    rb"Created TensorFlow Lite XNNPACK delegate|before absl::InitializeLog|inference_feedback_manager\.cc"
    rb"|landmark_projection_calculator\.cc|gl_context"
)


@dataclass(frozen=True)
class Region:
    """The rotated square that the landmark network reads: centre and side in pixels, rotation in radians."""

    x: float
    y: float
    size: float
    rotation: float = 0.0


@dataclass(frozen=True, eq=False)
class RawHand:
    """One answer of the landmark network, in its own convention.

    image: x, y in pixels, z in pixels from the wrist (smaller is nearer). world: metres about the hand's centre.
    label: the side as MediaPipe says it, which is for a mirrored (selfie) image.
    """

    image: Float[np.ndarray, "21 3"]
    world: Float[np.ndarray, "21 3"]
    label: str
    label_score: float
    presence: float


class HandGraph:
    """A running MediaPipe graph: palms then landmarks on a whole image, or landmarks on given regions."""

    def __init__(
        self,
        *,
        max_hands: int = 2,
        min_score: float = 0.5,
        min_palm_score: float | None = None,
        tracking: bool = False,
        regions_only: bool = False,
    ) -> None:
        bindings = _import_mediapipe()
        self._bindings = bindings
        self._time = 0
        self._regions_only = regions_only
        self._packets: dict[str, list[Any]] = {}
        side = {"model_complexity": bindings.packet_creator.create_int(1)}
        if not regions_only:
            side["num_hands"] = bindings.packet_creator.create_int(max_hands)
            side["use_prev_landmarks"] = bindings.packet_creator.create_bool(tracking)
        self._hand_seen = False
        with _quiet_start():
            thresholds = {
                _PRESENCE_GATE: min_score,
                _PALM_GATE: min_score if min_palm_score is None else min_palm_score,
            }
            config = _graph_config(bindings, None if regions_only else _TRACKING_GRAPH, thresholds)
            self._graph: Any = bindings.CalculatorGraph(graph_config=config)
            for stream in (_LANDMARKS, _WORLD, _SIDE, _PRESENCE):
                self._graph.observe_output_stream(stream, self._collect)
            self._graph.start_run(side)
            # Worker threads load the networks at the first image, and that is where they chatter.
            self._warm_up()

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> list[RawHand]:
        """All hands of an RGB image."""
        self._send({"image": self._image_packet(image)})
        return self._hands(image.shape[1], image.shape[0])

    def landmarks(self, image: UInt8[np.ndarray, "H W 3"], regions: Sequence[Region]) -> list[RawHand | None]:
        """The hand in each given region of an RGB image, None where there is none; for `regions_only` graphs."""
        height, width = image.shape[:2]
        packet = self._image_packet(image)
        found: list[RawHand | None] = []
        for region in regions:
            self._send({"image": packet, _REGION: self._region_packet(region, width, height)})
            hands = self._hands(width, height)
            found.append(hands[0] if hands else None)
        return found

    def close(self) -> None:
        """Stop the graph; safe to call twice."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _warm_up(self) -> None:
        black = np.zeros((64, 64, 3), np.uint8)
        if self._regions_only:
            self.landmarks(black, [Region(32, 32, 64)])
        else:
            self.detect(black)

    def _image_packet(self, image: np.ndarray) -> Any:
        return self._bindings.packet_creator.create_image_frame(
            np.ascontiguousarray(image), image_format=self._bindings.SRGB
        )

    def _region_packet(self, region: Region, width: int, height: int) -> Any:
        rect = self._bindings.NormalizedRect(
            x_center=region.x / width,
            y_center=region.y / height,
            width=region.size / width,
            height=region.size / height,
            rotation=region.rotation,
        )
        return self._bindings.packet_creator.create_proto(rect)

    def _send(self, packets: dict[str, Any]) -> None:
        self._packets = {stream: [] for stream in (_LANDMARKS, _WORLD, _SIDE, _PRESENCE)}
        self._time += 33333
        for stream, packet in packets.items():
            self._graph.add_packet_to_input_stream(stream=stream, packet=packet.at(self._time))
        # The last start-up line comes with the first hand.
        with nullcontext() if self._hand_seen else _quiet_start():
            self._graph.wait_until_idle()
        self._hand_seen = self._hand_seen or bool(self._packets[_LANDMARKS])

    def _collect(self, stream: str, packet: Any) -> None:
        self._packets[stream].append(packet)

    def _hands(self, width: int, height: int) -> list[RawHand]:
        """Join the streams of the loop over hands: packets of one hand share a time stamp."""
        get = self._bindings.packet_getter
        by_time = {
            stream: {packet.timestamp.value: packet for packet in packets} for stream, packets in self._packets.items()
        }
        hands = []
        for time, packet in by_time[_LANDMARKS].items():
            side = get.get_proto(by_time[_SIDE][time]).classification[0]
            hands.append(
                RawHand(
                    image=_points(get.get_proto(packet)) * (width, height, width),
                    world=_points(get.get_proto(by_time[_WORLD][time])),
                    label=side.label,
                    label_score=side.score,
                    presence=get.get_float(by_time[_PRESENCE][time]),
                )
            )
        return hands


def _points(landmarks: Any) -> Float[np.ndarray, "21 3"]:
    return np.array([(point.x, point.y, point.z) for point in landmarks.landmark])


def _import_mediapipe() -> SimpleNamespace:
    """The bindings that drive a graph; absl's start-up log lines are kept down by its own variable."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import mediapipe
        from mediapipe.calculators.tensor import tensors_to_detections_calculator_pb2
        from mediapipe.calculators.util import thresholding_calculator_pb2
        from mediapipe.framework import calculator_pb2
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python import packet_creator, packet_getter
        from mediapipe.python._framework_bindings import (
            calculator_graph,
            image_frame,
            resource_util,
            validated_graph_config,
        )
    except ImportError as error:
        raise HandkitError(
            f"MediaPipe Hands is not available: {error}", "pip install 'handkit[mediapipe]' (Python 3.10 to 3.12)"
        ) from error
    return SimpleNamespace(
        root=Path(mediapipe.__file__).parents[1],
        packet_creator=packet_creator,
        packet_getter=packet_getter,
        CalculatorGraph=calculator_graph.CalculatorGraph,
        ValidatedGraphConfig=validated_graph_config.ValidatedGraphConfig,
        CalculatorGraphConfig=calculator_pb2.CalculatorGraphConfig,
        NormalizedRect=rect_pb2.NormalizedRect,
        SRGB=image_frame.ImageFormat.SRGB,
        set_resource_dir=resource_util.set_resource_dir,
        gates={
            _PRESENCE_GATE: (thresholding_calculator_pb2.ThresholdingCalculatorOptions.ext, "threshold"),
            _PALM_GATE: (
                tensors_to_detections_calculator_pb2.TensorsToDetectionsCalculatorOptions.ext,
                "min_score_thresh",
            ),
        },
    )


def _graph_config(bindings: SimpleNamespace, graph_file: str | None, thresholds: dict[str, float]) -> Any:
    """A graph file (None: the region graph) with its subgraphs written out and the thresholds of its gates set."""
    bindings.set_resource_dir(str(bindings.root))
    validated = bindings.ValidatedGraphConfig()
    if graph_file is None:
        validated.initialize(graph_config=_REGION_GRAPH)
    else:
        validated.initialize(binary_graph_path=str(bindings.root / graph_file))
    config = bindings.CalculatorGraphConfig.FromString(validated.binary_config)
    for node in config.node:
        if node.name in thresholds:
            extension, field = bindings.gates[node.name]
            setattr(node.options.Extensions[extension], field, thresholds[node.name])
    return config


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Hold back what C++ writes to stderr meanwhile, and pass on all but the known start-up lines."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _CHATTER.search(line):
                    os.write(2, line)
