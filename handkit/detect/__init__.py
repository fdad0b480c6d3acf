"""Hands in images: MediaPipe, keypoints from elsewhere, square crops, and tracks over a video."""

from handkit.detect.crop import CROP_SCALE, crop_from_image, crop_image, square_box
from handkit.detect.detection import HandDetection, box_iou, remove_duplicates
from handkit.detect.mediapipe import MediaPipeDetector
from handkit.detect.openpose import hand_from_keypoints, read_keypoints, read_openpose, read_openpose_folder
from handkit.detect.track import Tracker, TrackSummary

__all__ = [
    "CROP_SCALE",
    "HandDetection",
    "MediaPipeDetector",
    "TrackSummary",
    "Tracker",
    "box_iou",
    "crop_from_image",
    "crop_image",
    "hand_from_keypoints",
    "read_keypoints",
    "read_openpose",
    "read_openpose_folder",
    "remove_duplicates",
    "square_box",
]
