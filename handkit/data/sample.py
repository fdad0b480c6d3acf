"""The one sample schema that every data set is read into.

A `HandSample` is one hand in one picture. Every key is always present. What a data set does not annotate is zeros, and
the flag beside it, `<key>_valid`, is False; a joint that alone is missing is zeros too.

| key | shape | dtype | unit, range | frame and meaning |
|---|---|---|---|---|
| image | [3, H, W] | uint8 | 0..255 | RGB; `float_images` makes the networks' [0, 1] of a batch on its device |
| mask | [H, W] | uint8 | 0, 1 | 1 where a pixel shows this hand, without arm, sleeve or object; `mask_valid` |
| bbox | [4] | float32 | px | x0, y0, x1, y1 of the hand; `bbox_valid` |
| K | [3, 3] | float32 | px | pinhole camera of this image; `K_valid` |
| weak_scale | [] | float32 | px / m | weak perspective: joints_2d = weak_scale * joints_3d[:, :2] + weak_transl; |
| weak_transl | [2] | float32 | px | ... `weak_valid` is the flag of both |
| joints_2d | [21, 2] | float32 | px | annotated, in our order; `joints_2d_valid` [21] |
| joints_3d | [21, 3] | float32 | m | camera frame; `joints_3d_valid` [21] |
| vertices_2d | [778, 2] | float32 | px | `vertices_2d_valid` |
| vertices | [778, 3] | float32 | m | camera frame; `vertices_valid` |
| global_orient | [3] | float32 | rad | axis-angle, camera_from_hand; the flag of it and hand_pose is `pose_valid` |
| hand_pose | [45] | float32 | rad | axis-angle with the mean pose added (a layer of flat_hand_mean=True) |
| pca | [10] | float32 | - | the pose by its first components, mean not added; `pca_valid` |
| betas | [10] | float32 | s.d. | shape; `betas_valid` |
| transl | [3] | float32 | m | camera frame, as `ManoLayer` adds it; `transl_valid` |
| keypoints_2d | [21, 2] | float32 | px | found by a detector, not annotated; `keypoints_2d_valid` |
| keypoint_scores | [21] | float32 | 0..1 | the detector's confidences; 0 where it found nothing |
| is_right | [] | bool | | the side the picture shows; parameters are those of that side's hand model |
| hand_model | str | | | what the parameters belong to: "mano", "open", a file's name; "" without parameters |
| dataset | str | | | the data set's name |
| sequence | str | | | the sequence in it; frames of one name belong together in time |
| frame | [] | int64 | | place in the sequence, from 0 |
| name | str | | | what the data set calls this sample: a file name, a key |

Convention: DESIGN's throughout: pixel (x, y) with centres at +0.5, OpenCV camera axes, metres, radians. With `K_valid`
3D points are in front of the camera (z > 0); with `weak_valid` their origin is the hand's and z only orders them.
Flags are bool of shape [], except those of joints, which are [21].
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handkit.errors import HandkitError

Flag = NDArray[np.bool_]
Floats = NDArray[np.float32]
PairView = Literal["left", "right"]


class HandSample(TypedDict):
    """One hand in one picture; the module's table says what each key holds."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    mask_valid: Flag
    bbox: Floats
    bbox_valid: Flag
    K: Floats
    K_valid: Flag
    weak_scale: Floats
    weak_transl: Floats
    weak_valid: Flag
    joints_2d: Floats
    joints_2d_valid: NDArray[np.bool_]
    joints_3d: Floats
    joints_3d_valid: NDArray[np.bool_]
    vertices_2d: Floats
    vertices_2d_valid: Flag
    vertices: Floats
    vertices_valid: Flag
    global_orient: Floats
    hand_pose: Floats
    pose_valid: Flag
    pca: Floats
    pca_valid: Flag
    betas: Floats
    betas_valid: Flag
    transl: Floats
    transl_valid: Flag
    keypoints_2d: Floats
    keypoint_scores: Floats
    keypoints_2d_valid: Flag
    is_right: Flag
    hand_model: str
    dataset: str
    sequence: str
    frame: NDArray[np.int64]
    name: str


class StereoSample(TypedDict):
    """One hand in both pictures of a rectified pair, each sample in its own camera's frame."""

    left: HandSample
    right: HandSample
    right_from_left: Floats  # [3, 4], [R|t] with x_right = R x_left + t in metres


class _Field(NamedTuple):
    shape: tuple[int | str, ...]
    dtype: type[np.generic]
    flag: str | None


_F, _U, _B = np.float32, np.uint8, np.bool_
_FIELDS: Final[dict[str, _Field]] = {
    "image": _Field((3, "H", "W"), _U, None),
    "mask": _Field(("H", "W"), _U, "mask_valid"),
    "bbox": _Field((4,), _F, "bbox_valid"),
    "K": _Field((3, 3), _F, "K_valid"),
    "weak_scale": _Field((), _F, "weak_valid"),
    "weak_transl": _Field((2,), _F, "weak_valid"),
    "joints_2d": _Field((21, 2), _F, "joints_2d_valid"),
    "joints_3d": _Field((21, 3), _F, "joints_3d_valid"),
    "vertices_2d": _Field((778, 2), _F, "vertices_2d_valid"),
    "vertices": _Field((778, 3), _F, "vertices_valid"),
    "global_orient": _Field((3,), _F, "pose_valid"),
    "hand_pose": _Field((45,), _F, "pose_valid"),
    "pca": _Field((10,), _F, "pca_valid"),
    "betas": _Field((10,), _F, "betas_valid"),
    "transl": _Field((3,), _F, "transl_valid"),
    "keypoints_2d": _Field((21, 2), _F, "keypoints_2d_valid"),
    "keypoint_scores": _Field((21,), _F, "keypoints_2d_valid"),
    "is_right": _Field((), _B, None),
    "frame": _Field((), np.int64, None),
}
_FLAGS: Final = {
    field.flag: (21,) if field.flag.startswith("joints") else () for field in _FIELDS.values() if field.flag
}
_STRINGS: Final = ("hand_model", "dataset", "sequence", "name")
# A hand's joints span 4 cm curled up and 25 cm spread out; outside this the unit is not metres.
_SPAN_M: Final = (0.02, 0.5)


def build_sample(image: NDArray[np.uint8], *, is_right: bool, dataset: str, name: str, **known: Any) -> HandSample:
    """A sample of what is known; every other key is filled with zeros and flagged as not annotated.

    `image` is [3, H, W]. A key in `known` counts as annotated unless its flag is given too; arrays are converted to the
    schema's dtypes. Raises HandkitError for a key that the schema does not have.
    """
    known = {"image": image, "is_right": is_right, "frame": 0, **known}
    strings = {"dataset": dataset, "name": name, "sequence": "", "hand_model": ""}
    strings |= {key: str(known.pop(key)) for key in _STRINGS if key in known}
    unknown = sorted(set(known) - set(_FIELDS) - set(_FLAGS))
    if unknown:
        raise HandkitError(f"a sample has no key {', '.join(map(repr, unknown))}", "see handkit.data.sample")
    sample: dict[str, Any] = {}
    for flag, flag_shape in _FLAGS.items():
        given = any(key in known for key, field in _FIELDS.items() if field.flag == flag)
        sample[flag] = np.asarray(known[flag] if flag in known else np.full(flag_shape, given), _B)
    for key, field in _FIELDS.items():
        value = known[key] if key in known else np.zeros(_shape(field, image))
        sample[key] = np.asarray(value, field.dtype)
        if field.flag is not None:
            valid = sample[field.flag]
            sample[key] = np.where(valid[:, None] if valid.ndim else valid, sample[key], field.dtype())
    return cast(HandSample, {**sample, **strings})


def check_sample(sample: Mapping[str, Any]) -> None:
    """Raise HandkitError, naming the key and what is wrong with it, unless `sample` follows the schema.

    Checked are keys, types, shapes and finite numbers; that what is not annotated is zeros; masks of 0 and 1; scores in
    [0, 1]; K's form; hands of 2 to 50 cm (else the unit is not metres), in front of a pinhole camera.
    """
    _check_keys(sample)
    for key, field in _FIELDS.items():
        _check_array(sample, key, _shape(field, sample["image"]), field.dtype)
    for flag, flag_shape in _FLAGS.items():
        _check_array(sample, flag, flag_shape, _B)
    for key in _STRINGS:
        _require(isinstance(sample[key], str), key, f"is {type(sample[key]).__name__}, not str", sample)
    for key, field in _FIELDS.items():
        if field.flag is not None:
            absent = sample[key][~sample[field.flag]] if _FLAGS[field.flag] else sample[key] * ~sample[field.flag]
            _require(not np.any(absent), key, f"is not zero where {field.flag} is False", sample)
    _check_values(sample)


def _shape(field: _Field, image: NDArray[np.uint8]) -> tuple[int, ...]:
    sizes = dict(zip(("H", "W"), np.shape(image)[-2:], strict=False))
    return tuple(sizes.get(size, 0) if isinstance(size, str) else size for size in field.shape)


def _check_keys(sample: Mapping[str, Any]) -> None:
    wanted = {*_FIELDS, *_FLAGS, *_STRINGS}
    for key in (*_FIELDS, *_FLAGS, *_STRINGS):
        _require(key in sample, key, "is missing", sample)
    for key in sample:
        _require(key in wanted, key, "is not in the schema", sample)


def _check_array(sample: Mapping[str, Any], key: str, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    value = sample[key]
    _require(isinstance(value, np.ndarray | np.generic), key, f"is {type(value).__name__}, not a numpy array", sample)
    _require(value.dtype == dtype, key, f"is {value.dtype}, not {np.dtype(dtype)}", sample)
    _require(value.shape == shape, key, f"has shape {value.shape}, not {shape}", sample)
    if dtype is _F:
        _require(bool(np.isfinite(value).all()), key, "holds numbers that are not finite", sample)


def _check_values(sample: Mapping[str, Any]) -> None:
    mask, scores, K = sample["mask"], sample["keypoint_scores"], sample["K"]
    _require(mask.max(initial=0) <= 1, "mask", f"holds {mask.max(initial=0)}, not only 0 and 1", sample)
    _require(bool(((scores >= 0) & (scores <= 1)).all()), "keypoint_scores", "is outside [0, 1]", sample)
    if sample["bbox_valid"]:
        x0, y0, x1, y1 = sample["bbox"]
        _require(x1 > x0 and y1 > y0, "bbox", f"is {sample['bbox'].tolist()}: not x0 < x1, y0 < y1", sample)
    if sample["K_valid"]:
        lower = (K[1, 0], K[2, 0], K[2, 1], K[2, 2] - 1)
        _require(K[0, 0] > 0 and K[1, 1] > 0 and not any(lower), "K", "is not [[fx, s, cx], [0, fy, cy], ...]", sample)
    if sample["weak_valid"]:
        _require(bool(sample["weak_scale"] > 0), "weak_scale", f"is {sample['weak_scale']}", sample)
    for key, valid in (("joints_3d", sample["joints_3d_valid"]), ("vertices", sample["vertices_valid"])):
        points = sample[key][valid] if valid.ndim else sample[key][: len(sample[key]) * int(valid)]
        if len(points) and sample["K_valid"]:
            _require(bool((points[:, 2] > 0).all()), key, "lies behind the camera", sample)
        if len(points) >= 21:
            span = float(np.linalg.norm(np.ptp(points, axis=0)))
            _require(_SPAN_M[0] < span < _SPAN_M[1], key, f"spans {span:.3g} m: not a hand in metres", sample)


def _require(holds: bool | np.bool_, key: str, what: str, sample: Mapping[str, Any]) -> None:
    if not holds:
        place = "/".join(str(sample[part]) for part in ("dataset", "name") if sample.get(part)) or "a sample"
        raise HandkitError(f"{place}: {key} {what}", "mend the data set's reader; handkit.data.sample has the schema")


def stack_samples(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples as one of the same keys with a leading dimension: arrays stacked, strings in a list.

    Raises HandkitError where sizes differ, naming the key. Works on what it returns too, so batches of sequences come
    out as [B, T, ...].
    """
    stacked: dict[str, Any] = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if isinstance(first, Mapping):
            stacked[key] = stack_samples(values)
        elif isinstance(first, str | list):
            stacked[key] = values
        else:
            shapes = {np.shape(value) for value in values}
            if len(shapes) > 1:
                what = f"{key} has different sizes in one batch: {', '.join(map(str, sorted(shapes)))}"
                raise HandkitError(what, "crop or resize the pictures to one size, or take batches of one")
            stacked[key] = np.stack(values)
    return stacked


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of tensors [B, ...] of samples, sequences or stereo pairs: `collate_fn` of a DataLoader."""
    return _to_tensors(stack_samples(samples))


def _to_tensors(stacked: dict[str, Any]) -> dict[str, Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return _to_tensors(value)
        return value if isinstance(value, list) else torch.from_numpy(value)

    return {key: convert(value) for key, value in stacked.items()}


def float_images(images: Tensor) -> Tensor:
    """uint8 [*B, 3, H, W] as float32 in [0, 1], on the same device."""
    return images.float() / 255
