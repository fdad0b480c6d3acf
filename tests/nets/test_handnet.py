"""HandNet: its layers' sizes, what of it runs and learns for which input, its first hands, two views."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from handkit.errors import HandkitError
from handkit.nets import HandNet, build_handnet, extend_with_stereo, keypoint_heatmaps
from handkit.nets.handnet import PARTS, STEREO_PARTS
from handkit.nets.handnet_parts import FusionBlock

BACKBONES = ("resnet50", "regnet_x_400mf")
COMPACT = "regnet_x_400mf"

# Table 1 of the supplement: output size, channels in, channels out. It says 3 for what the keypoint head sees, whose
# input section 3.1 describes as a heat map of 21 channels.
TABLE_1 = {
    "image_head.down1": ([112, 112], 3, 64),
    "image_head.down2": ([56, 56], 64, 256),
    "image_head.down3": ([28, 28], 256, 512),
    "keypoint_head.down1": ([112, 112], 21, 64),
    "keypoint_head.down2": ([56, 56], 64, 256),
    "keypoint_head.down3": ([28, 28], 256, 512),
    "fusion.squeeze": ([28, 28], 1024, 128),
    "fusion.excite": ([28, 28], 128, 1024),
    "fusion.merge": ([28, 28], 1024, 512),
    "tail.down4": ([14, 14], 512, 1024),
    "tail.down5": ([7, 7], 1024, 2048),
    "segmentation.up1": ([14, 14], 2048, 1024),
    "segmentation.up2": ([28, 28], 1024, 512),
    "segmentation.up3": ([56, 56], 512, 256),
    "segmentation.up4": ([112, 112], 256, 128),
    "segmentation.up5": ([224, 224], 128, 64),
    "segmentation.last": ([224, 224], 64, 1),
    "regressor.base": ([], 2048, 512),
    "regressor.pose": ([], 512, 48),
    "regressor.shape": ([], 512, 10),
    "regressor.camera": ([], 512, 3),
    "stereo": ([], 1024, 48),
}
COMPACT_TABLE = {
    "image_head.down1": ([112, 112], 3, 32),
    "image_head.down2": ([56, 56], 32, 32),
    "image_head.down3": ([28, 28], 32, 64),
    "keypoint_head.down1": ([112, 112], 21, 32),
    "keypoint_head.down2": ([56, 56], 32, 32),
    "keypoint_head.down3": ([28, 28], 32, 64),
    "fusion.squeeze": ([28, 28], 128, 16),
    "fusion.excite": ([28, 28], 16, 128),
    "fusion.merge": ([28, 28], 128, 64),
    "tail.down4": ([14, 14], 64, 160),
    "tail.down5": ([7, 7], 160, 400),
    "segmentation.up1": ([14, 14], 400, 160),
    "segmentation.up2": ([28, 28], 160, 64),
    "segmentation.up3": ([56, 56], 64, 32),
    "segmentation.up4": ([112, 112], 32, 16),
    "segmentation.up5": ([224, 224], 16, 16),
    "segmentation.last": ([224, 224], 16, 1),
    "regressor.base": ([], 400, 512),
    "regressor.pose": ([], 512, 48),
    "regressor.shape": ([], 512, 10),
    "regressor.camera": ([], 512, 3),
    "stereo": ([], 1024, 48),
}
PARAMETERS = {
    "resnet50": {
        "image_head": 1_444_928,
        "keypoint_head": 1_501_376,
        "fusion": 7_079_552,
        "tail": 22_063_104,
        "regressor": 1_080_381,
        "segmentation": 48_785_153,
        "stereo": 49_200,
    },
    "regnet_x_400mf": {
        "image_head": 44_576,
        "keypoint_head": 49_760,
        "fusion": 110_800,
        "tail": 5_050_400,
        "regressor": 236_605,
        "segmentation": 1_152_945,
        "stereo": 49_200,
    },
}


def crops(count: int = 4, size: int = 64) -> tuple[Tensor, Tensor]:
    """Images and heat maps, different from each other as noise, whose means are alike, is not."""
    shape = {"size": (size, size), "mode": "bilinear"}
    images = nn.functional.interpolate(torch.rand(count, 3, 4, 4), **shape)
    return images, nn.functional.interpolate(torch.rand(count, 21, 4, 4), **shape)


def trained_a_little(**arguments: Any) -> HandNet:
    """With statistics of some crops, and numbers that depend on the crop."""
    torch.manual_seed(0)
    network = HandNet(**{"backbone": COMPACT, **arguments})
    for module in network.regressor.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images, heatmaps = crops(16)
    kinds = {"both": (images, heatmaps), "image": (images, None), "keypoints": (None, heatmaps)}
    with torch.no_grad():
        network.train()(*kinds[network.inputs])
        if network.stereo_views and network.inputs != "keypoints":
            network(images, None, adapted=True)
    return network.eval()


@pytest.fixture(scope="module")
def stereo() -> HandNet:
    return trained_a_little(stereo=True)


@pytest.mark.parametrize(("backbone", "table"), [("resnet50", TABLE_1), (COMPACT, COMPACT_TABLE)])
def test_layers_are_of_the_papers_sizes(backbone: str, table: dict[str, tuple[list[int], int, int]]) -> None:
    network = HandNet(backbone=backbone, stereo=True).eval()
    found: dict[str, tuple[list[int], int, int]] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, given, got: found.update({name: (list(got.shape[2:]), given[0].shape[1], got.shape[1])})

    for name in table:
        network.get_submodule(name).register_forward_hook(note(name))
    with torch.no_grad():
        network(torch.rand(2, 3, 224, 224), torch.rand(2, 21, 224, 224), pairs=True)
    assert found == table
    convolutions = [network.get_submodule(f"fusion.{name}") for name in ("squeeze", "excite", "merge")]
    assert [part.kernel_size for part in convolutions] == [(3, 3)] * 3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameter_counts(backbone: str) -> None:
    network = HandNet(backbone=backbone, stereo=True)
    counts = {name: sum(value.numel() for value in network.part(name).parameters()) for name in (*PARTS, *STEREO_PARTS)}
    assert counts == {**PARAMETERS[backbone], "adapted_head": PARAMETERS[backbone]["image_head"]}
    assert sum(value.numel() for value in network.parameters()) == sum(counts.values())


@pytest.mark.parametrize("size", [32, 64, 96, 160, 224])
def test_shapes_at_several_sizes(stereo: HandNet, size: int) -> None:
    with torch.no_grad():
        found = stereo(*crops(2, size), pairs=True)
    assert [tuple(part.shape) for part in found] == [(2, 48), (2, 10), (2, 3), (2, 512), (2, size, size), (1, 48)]
    assert all(part.isfinite().all() for part in found)


def test_plain_backbone_halves_the_map_five_times_and_takes_no_weights(tmp_path: Path) -> None:
    network = HandNet(backbone="plain").eval()
    with torch.no_grad():
        images, heatmaps = crops(2)
        maps = [*network.image_head(images), *network.tail(network.keypoint_head(heatmaps)[2])]
    half = images.shape[-1] // 2
    expected = [(64, half), (128, half // 2), (256, half // 4), (512, half // 8), (512, half // 16)]
    assert [(part.shape[1], part.shape[2]) for part in maps] == expected
    with pytest.raises(HandkitError, match="not torchvision's"):
        HandNet(backbone="plain", backbone_weights=tmp_path / "imagenet.pth")


def test_integral_backbone_reads_places_and_heights() -> None:
    torch.manual_seed(0)
    points, scores = 0.3 + 0.4 * torch.rand(4, 21, 2), 0.2 + 0.8 * torch.rand(4, 21)
    scores[0, 3] = 0
    network = HandNet(backbone="integral", inputs="keypoints", sigma=0.04).eval()
    maps = keypoint_heatmaps(points, scores, size=32, sigma=0.04)
    found = network.keypoint_head(maps)[2].flatten(1)
    places, heights, whole = found[:, :42].view(4, 21, 2), found[:, 42:63], found[:, 63:]
    for hand in range(4):
        seen = scores[hand] > 0
        low, high = points[hand, seen].amin(0), points[hand, seen].amax(0)
        expected = 2 * (points[hand] - (low + high) / 2) / (high - low).max()
        expected[~seen] = 0
        torch.testing.assert_close(places[hand], expected, atol=2e-3, rtol=0)
        box = torch.cat([(low + high) / 2, (high - low).amax()[None]])
        torch.testing.assert_close(whole[hand], 2 * (box - 0.5), atol=2e-3, rtol=0)
    assert heights[0, 3] == 0
    assert ((heights - scores).abs() < 0.15).all()  # the nearest pixel's centre is up to half a pixel from the peak
    out = network(None, maps)
    assert out.pose.shape == (4, 48)
    assert torch.isfinite(network(None, torch.zeros_like(maps)).pose).all()
    with pytest.raises(HandkitError, match="keypoints alone"):
        HandNet(backbone="integral")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_head_and_tail_are_the_backbone(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = get_model(backbone, weights=None)
    torch.save(whole.state_dict(), tmp_path / "imagenet.pth")
    network = HandNet(backbone=backbone, backbone_weights=tmp_path / "imagenet.pth").eval()
    whole.fc = nn.Identity()
    images, _ = crops(2)
    with torch.no_grad():
        expected = whole.eval()(images)
        found = network.tail(network.image_head(images)[2])[1].mean((-2, -1))
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-5)
    first, *others = network.keypoint_head.state_dict().items()
    own = network.image_head.state_dict()
    torch.testing.assert_close(first[1], own[first[0]].mean(1, keepdim=True).expand(-1, 21, -1, -1))
    assert all(torch.equal(value, own[name]) for name, value in others)
    own_storage = {value.data_ptr() for value in network.image_head.parameters()}
    assert not own_storage & {value.data_ptr() for value in network.keypoint_head.parameters()}


def test_without_weights_the_channels_of_the_keypoint_head_differ() -> None:
    torch.manual_seed(0)
    network = HandNet(backbone=COMPACT)
    first = network.keypoint_head.get_parameter("down1.0.weight")
    assert first.std(1).min() > 0
    seen = network.image_head.get_parameter("down1.0.weight")
    assert first.std().item() == pytest.approx(seen.std().item(), rel=0.1)  # as torchvision's starts


def slow_convolution(values: Tensor, layer: nn.Conv2d) -> Tensor:
    """By a loop over places, 3x3, with a border of zeros."""
    height, width = values.shape[1:]
    padded = torch.zeros(len(values), height + 2, width + 2, dtype=values.dtype)
    padded[:, 1:-1, 1:-1] = values
    found = torch.zeros(layer.out_channels, height, width, dtype=values.dtype)
    for row in range(height):
        for column in range(width):
            seen = padded[:, row : row + 3, column : column + 3]
            found[:, row, column] = (layer.weight * seen).sum((1, 2, 3)) + layer.bias
    return found


def test_fusion_is_the_papers_gate() -> None:
    torch.manual_seed(0)
    block = FusionBlock(8).double()
    for layer in (block.squeeze, block.excite, block.merge):
        layer.reset_parameters()
    image, drawn = torch.randn(2, 3, 8, 5, 5, dtype=torch.float64).unbind()
    with torch.no_grad():
        found = block(image, drawn)
        for number in range(3):
            both = torch.cat([image[number], drawn[number]])
            hidden = slow_convolution(both, block.squeeze).clamp_min(0)
            gate = 1 / (1 + (-slow_convolution(hidden, block.excite)).exp())
            torch.testing.assert_close(found[number], slow_convolution(gate * both, block.merge))


def test_fusion_starts_with_the_mean_of_the_two() -> None:
    torch.manual_seed(0)
    block = FusionBlock(64)
    image, drawn = torch.randn(2, 2, 64, 14, 14).relu().unbind()
    with torch.no_grad():
        mean = (image + drawn) / 2
        assert (block(image, drawn) - mean).norm() < 0.1 * mean.norm()
        nn.init.zeros_(block.excite.weight)
        nn.init.zeros_(block.excite.bias)
        torch.testing.assert_close(block(image, drawn), mean)


def broken(network: HandNet, *names: str) -> HandNet:
    """Parts whose every use would show."""
    with torch.no_grad():
        for name in names:
            for value in network.part(name).parameters():
                value.fill_(torch.nan)
    return network


def test_one_input_leaves_the_other_head_and_the_fusion_out() -> None:
    images, heatmaps = crops()
    with torch.no_grad():
        network = broken(trained_a_little(), "keypoint_head", "fusion")
        found = network(images, None)
        assert all(part.isfinite().all() for part in found[:5])
        last = network.tail(network.image_head((images - network.mean) / network.std)[2])[1]
        torch.testing.assert_close(found.pose, network.regressor(last)[0])
        network = broken(trained_a_little(), "image_head", "fusion", "segmentation")
        found = network(None, heatmaps)
        assert found.mask is None
        assert all(part.isfinite().all() for part in found[:4])
        last = network.tail(network.keypoint_head(heatmaps)[2])[1]
        torch.testing.assert_close(found.pose, network.regressor(last)[0])
        found = broken(trained_a_little(), "segmentation")(images, heatmaps, want_mask=False)
        assert found.mask is None
        assert found.weights is None
        assert found.pose.isfinite().all()


def test_both_inputs_count() -> None:
    network, (images, heatmaps) = trained_a_little(), crops()
    with torch.no_grad():
        found = network(images, heatmaps)
        for others in (network(images.flip(0), heatmaps), network(images, heatmaps.flip(0))):
            assert (found.pose - others.pose).abs().max() > 1e-3
            assert (found.mask - others.mask).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("inputs", "parts"),
    [
        ("both", PARTS),
        ("image", ("image_head", "tail", "regressor", "segmentation")),
        ("keypoints", ("keypoint_head", "tail", "regressor")),
    ],
)
@pytest.mark.parametrize("stereo", [False, True])
def test_a_network_has_the_parts_of_its_inputs(inputs: str, stereo: bool, parts: tuple[str, ...]) -> None:
    network = HandNet(backbone=COMPACT, inputs=inputs, stereo=stereo)
    expected = set(parts)
    if stereo:
        expected |= {"stereo"} if inputs == "keypoints" else set(STEREO_PARTS)
    assert {name for name, _ in network.named_children()} == expected
    assert all(network.part(name) is child for name, child in network.named_children())
    with pytest.raises(HandkitError, match="no part 'neck'") as missing:
        network.part("neck")
    assert all(name in missing.value.fix for name in expected)


def test_numbers_of_one_input_do_not_depend_on_the_rest_of_the_network() -> None:
    images, heatmaps = crops()
    both = trained_a_little()
    for inputs, given in (("image", (images, None)), ("keypoints", (None, heatmaps))):
        alone = HandNet(backbone=COMPACT, inputs=inputs).eval()
        own = alone.state_dict()
        alone.load_state_dict({name: value for name, value in both.state_dict().items() if name in own})
        with torch.no_grad():
            found, expected = alone(*given), both(*given)
        assert torch.equal(found.pose, expected.pose)
        assert (found.mask is None) == (inputs == "keypoints")


@pytest.mark.parametrize(
    ("given", "options", "parts"),
    [
        ("both", {"want_mask": False}, {"image_head", "keypoint_head", "fusion", "tail", "regressor"}),
        ("both", {}, set(PARTS)),
        ("image", {"want_mask": False}, {"image_head", "tail", "regressor"}),
        ("image", {}, {"image_head", "tail", "regressor", "segmentation"}),
        ("keypoints", {}, {"keypoint_head", "tail", "regressor"}),
        ("image", {"adapted": True}, {"adapted_head", "tail", "regressor", "segmentation"}),
        ("keypoints", {"pairs": True}, {"keypoint_head", "tail", "regressor", "stereo"}),
        ("both", {"adapted": True, "pairs": True}, {*PARTS, *STEREO_PARTS} - {"image_head"}),
    ],
)
def test_gradients_reach_what_is_used_and_all_of_it(given: str, options: dict[str, bool], parts: set[str]) -> None:
    torch.manual_seed(0)
    network = HandNet(backbone=COMPACT, stereo=True).train()
    images, heatmaps = crops()
    found = network(None if given == "keypoints" else images, None if given == "image" else heatmaps, **options)
    sum((part * torch.randn_like(part)).sum() for part in found if part is not None).backward()
    for name, value in network.named_parameters():
        if name.split(".")[0] not in parts:
            assert value.grad is None, name
        else:
            assert value.grad is not None, name
            assert value.grad.isfinite().all(), name
            assert value.grad.any(), name


def test_the_mask_alone_reaches_the_encoder_and_not_the_regressor() -> None:
    torch.manual_seed(0)
    network = HandNet(backbone=COMPACT).train()
    network(*crops()).mask.square().sum().backward()
    reached = {name.split(".")[0] for name, value in network.named_parameters() if value.grad is not None}
    assert reached == {*PARTS} - {"regressor"}


def test_convention_first_hands() -> None:
    """Upright, of the mean pose and shape, the wrist in the middle of the crop's lower part."""
    torch.manual_seed(0)
    network = HandNet(backbone=COMPACT).train()
    with torch.no_grad():
        found = network(*crops(8))
    for part in (found.pose, found.betas):
        assert part.abs().max() < 0.1
        assert part.std() > 0
    torch.testing.assert_close(found.camera, torch.tensor([3.3, 0.0, 0.3]).expand(8, 3), rtol=0, atol=0.1)


def test_scale_is_positive_whatever_the_features_say() -> None:
    network = trained_a_little()
    with torch.no_grad():
        for bias in (-100.0, -1.0, 0.0, 2.0):
            network.regressor.camera.weight.zero_()
            network.regressor.camera.bias.copy_(torch.tensor([bias, -1.0, 1.0]))
            camera = network(*crops(2)).camera
            assert (camera[:, 0] >= 0).all()
            assert (camera[:, 0] > 0).all() or bias == -100
            assert camera[0, 1:].tolist() == [-1, 1]
        assert camera[:, 0].tolist() == [2, 2]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_batch_is_a_loop(backbone: str) -> None:
    network = trained_a_little(backbone=backbone).double()
    images, heatmaps = (maps.double() for maps in crops(2))
    with torch.no_grad():
        together = network(images, heatmaps)
        alone = [network(images[n : n + 1], heatmaps[n : n + 1]) for n in range(2)]
    for number, part in enumerate(together[:5]):
        assert part.std(0).max() > 1e-3  # they are different hands
        torch.testing.assert_close(part, torch.cat([one[number] for one in alone]), rtol=0, atol=1e-8)


def test_images_are_normalised_within() -> None:
    network = trained_a_little()
    assert not {"mean", "std"} & set(network.state_dict())
    seen: list[Tensor] = []
    network.image_head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 64, 64), None)
        network(torch.ones(1, 3, 64, 64), None)
    assert seen[0].abs().max() < 1e-6
    torch.testing.assert_close(seen[1][0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]), rtol=0, atol=1e-4)


def test_numbers_stay_in_full_precision_under_autocast(stereo: HandNet) -> None:
    images, heatmaps = crops()
    with torch.no_grad():
        exact = stereo(images, heatmaps, pairs=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = stereo(images, heatmaps, pairs=True)
        regressor, features = stereo.regressor, found.features.float()
        for part, head in ((found.pose, regressor.pose), (found.betas, regressor.shape)):
            assert not torch.equal(part, part.bfloat16().float())
            assert torch.equal(part, head(features))
        assert torch.equal(found.camera[:, 1:], regressor.camera(features)[:, 1:])
    assert found.features.dtype == torch.bfloat16
    assert found.camera.dtype == found.weights.dtype == torch.float32
    assert (features - exact.features).norm() < 0.5 * exact.features.norm()  # untrained, an error grows on its way
    assert ((found.mask > 0) == (exact.mask > 0)).float().mean() > 0.95


def test_stereo_starts_as_the_network_and_with_a_half() -> None:
    network = trained_a_little()
    extended = extend_with_stereo(network)
    assert network.describe()["stereo"] is False
    assert extended.describe() == {**network.describe(), "stereo": True}
    assert not extended.training
    images, heatmaps = crops()
    with torch.no_grad():
        mono, pair = network(images, heatmaps), extended(images, heatmaps, pairs=True)
        adapted = extended(images, heatmaps, adapted=True)
    for ours, same, wanted in zip(pair[:5], adapted[:5], mono[:5], strict=True):
        assert torch.equal(ours, wanted)
        assert torch.equal(same, wanted)
    assert torch.equal(pair.weights, torch.full((2, 48), 0.5))
    kept = network.image_head.get_parameter("down1.0.weight").clone()
    broken(extended, "adapted_head")
    assert torch.equal(network.image_head.get_parameter("down1.0.weight"), kept)
    with torch.no_grad():
        assert torch.equal(extended(images, heatmaps).pose, mono.pose)
        assert extended(images, heatmaps, adapted=True).pose.isnan().all()
    with pytest.raises(ValueError, match="already"):
        extend_with_stereo(extended)


def test_weights_are_of_the_right_views_features_before_the_left_ones(stereo: HandNet) -> None:
    with torch.no_grad():
        stereo.stereo.weight.normal_(std=0.1)
        found = stereo(*crops(6), pairs=True)
        for number in range(3):
            pair = torch.cat([found.features[number], found.features[number + 3]])
            wanted = stereo.stereo.weight @ pair + stereo.stereo.bias
            torch.testing.assert_close(found.weights[number], wanted, rtol=0, atol=1e-5)
    assert found.weights.std(0).max() > 1e-3


@pytest.fixture(scope="module")
def fresh() -> HandNet:
    return HandNet(backbone=COMPACT)


@pytest.mark.parametrize(
    ("images", "heatmaps", "said"),
    [
        (None, None, "images, heat maps of keypoints, or both"),
        ((2, 3, 80, 80), None, "80 x 80"),
        ((2, 3, 16, 16), None, "16 x 16"),
        ((2, 3, 64, 96), None, "64 x 96"),
        (None, (2, 21, 100, 100), "100 x 100"),
        ((2, 4, 64, 64), None, r"\[2, 4, 64, 64\]"),
        ((0, 3, 64, 64), None, r"\[0, 3, 64, 64\]"),
        (None, (2, 20, 64, 64), r"\[2, 20, 64, 64\]"),
        (None, (0, 21, 64, 64), r"\[0, 21, 64, 64\]"),
        ((2, 3, 64, 64), (2, 21, 96, 96), "must agree"),
        ((2, 3, 64, 64), (1, 21, 64, 64), "must agree"),
    ],
)
def test_unfit_inputs_are_said(
    fresh: HandNet, images: tuple[int, ...] | None, heatmaps: tuple[int, ...] | None, said: str
) -> None:
    given = [None if shape is None else torch.rand(shape) for shape in (images, heatmaps)]
    with pytest.raises(ValueError, match=said):
        fresh(*given)


def test_what_it_has_no_part_for_is_said(fresh: HandNet, stereo: HandNet) -> None:
    images, heatmaps = crops(3)
    with pytest.raises(ValueError, match="'stereo'"):
        fresh(images, heatmaps, pairs=True)
    with pytest.raises(ValueError, match="'adapted_head'"):
        fresh(images, None, adapted=True)
    with pytest.raises(ValueError, match="3 views are no pairs"):
        stereo(images, heatmaps, pairs=True)
    with pytest.raises(ValueError, match="float"):
        fresh((255 * images).byte(), None)
    for inputs, given in (("image", (None, heatmaps)), ("keypoints", (images, None))):
        with pytest.raises(ValueError, match="leave its input out"):
            HandNet(backbone=COMPACT, inputs=inputs)(*given)


def test_wrong_arguments_are_said() -> None:
    with pytest.raises(HandkitError, match="no backbone 'resnet101'") as backbone:
        HandNet(backbone="resnet101")
    assert "resnet50, regnet_x_400mf" in backbone.value.fix
    with pytest.raises(HandkitError, match="no inputs 'sound'"):
        build_handnet(inputs="sound")
    for sigma in (0.0, -1.0, 2.0, float("nan")):
        with pytest.raises(HandkitError, match="sigma"):
            build_handnet(sigma=sigma)
    with pytest.raises(HandkitError, match="no argument 'input'") as argument:
        build_handnet(input="image")
    assert "did you mean inputs?" in argument.value.fix
