"""Skin templates, looks and the finer mesh."""

import numpy as np
import pytest

from handkit.errors import HandkitError
from handkit.hand.model import HandModel, load_hand
from handkit.synth.appearance import Appearance, develop, sample_appearance, skin_colors, templates
from handkit.synth.skin import monk_tones
from handkit.synth.skin_detail import detail_mesh, detail_templates, subdivide
from handkit.synth.skin_surface import SkinMarks, rest_surface, skin_marks


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand("open")


@pytest.fixture(scope="module")
def marks(hand: HandModel) -> SkinMarks:
    return skin_marks(hand, rest_surface(hand))


def luminance(colors: np.ndarray) -> np.ndarray:
    return colors @ np.array([0.2126, 0.7152, 0.0722])


def test_templates_cover_the_monk_scale_evenly() -> None:
    found = templates()
    assert len(found) >= 40
    assert found.colors.shape == (len(found), 778, 3)
    assert found.colors.dtype == np.float32
    assert set(np.bincount(found.monk)[1:]) == {len(found) // 10}
    assert len(set(found.names)) == len(found)
    assert found.colors.min() > 0.015
    assert found.colors.max() < 0.985


def test_monk_tones_are_the_published_ones() -> None:
    np.testing.assert_array_equal(np.round(255 * monk_tones()[[0, 9]]), [[0xF6, 0xED, 0xE4], [0x29, 0x24, 0x20]])


def test_templates_darken_along_the_scale(marks: SkinMarks) -> None:
    found = templates()
    back = luminance(found.colors[:, marks.palmar < 0.05]).mean(1)
    by_tone = np.array([back[found.monk == tone].mean() for tone in range(1, 11)])
    assert np.all(np.diff(by_tone) < 0.03)
    assert np.all(np.diff(by_tone[3:]) < -0.02)
    assert by_tone[0] - by_tone[9] > 0.4


def test_skin_is_never_grey_or_blue() -> None:
    mean = templates().colors.mean(1)
    assert np.all(mean[:, 0] > mean[:, 1])
    assert np.all(mean[:, 1] > mean[:, 2])
    assert np.all(mean[:, 2] / mean[:, 0] < 0.85)


def test_templates_differ_from_each_other() -> None:
    colors = templates().colors.reshape(len(templates()), -1)
    distance = np.abs(colors[:, None] - colors[None]).mean(-1) + np.eye(len(colors))
    assert distance.min() > 0.002


def test_palms_are_lighter_on_dark_skin(marks: SkinMarks) -> None:
    found = templates()
    dark = found.colors[found.monk >= 8]
    palm, back = dark[:, marks.palmar > 0.9].mean(1), dark[:, marks.palmar < 0.05].mean(1)
    assert np.all(luminance(palm) > luminance(back) + 0.03)
    assert np.all(palm[:, 0] - palm[:, 2] > back[:, 0] - back[:, 2])


def test_nails_lie_on_the_back_of_each_fingertip(hand: HandModel, marks: SkinMarks) -> None:
    nail = marks.nail > 0.5
    finger = hand.lbs_weights[:, 1:].argmax(1)
    for last in (2, 5, 8, 11, 14):
        own = nail & (finger == last)
        assert own.sum() >= 3
        if last != 14:
            assert rest_surface(hand).normals[own, 1].min() > 0
    assert not nail[~np.isin(finger, (2, 5, 8, 11, 14))].any()
    assert 15 <= nail.sum() <= 120


def test_nails_are_lighter_than_dark_skin(marks: SkinMarks) -> None:
    found = templates()
    dark = found.colors[found.monk >= 7]
    assert np.all(luminance(dark[:, marks.nail > 0.8]).mean(1) > luminance(dark[:, marks.palmar < 0.05]).mean(1) + 0.05)


def test_creases_are_darker_than_the_palm_around(hand: HandModel) -> None:
    fine = detail_templates(hand, 2)
    mesh, coarse = detail_mesh(hand, 2), rest_surface(hand)
    own = skin_marks(hand, coarse._replace(points=mesh.interpolate(coarse.points),
                                           normals=mesh.interpolate(coarse.normals),
                                           weights=mesh.interpolate(coarse.weights)))  # fmt: skip
    lines = luminance(fine.colors[:, own.crease > 0.7]).mean(1)
    around = luminance(fine.colors[:, (own.palmar > 0.8) & (own.crease < 0.1)]).mean(1)
    assert np.all(lines < around)


def test_left_hands_have_the_same_colours() -> None:
    np.testing.assert_array_equal(templates(load_hand("open", "left")).colors, templates().colors)


def test_detail_keeps_the_surface_exactly(hand: HandModel) -> None:
    mesh = detail_mesh(hand, 2)
    assert mesh.faces.shape == (16 * 1538, 3)
    points = mesh.interpolate(hand.v_template)
    np.testing.assert_array_equal(points[:778], hand.v_template)
    np.testing.assert_allclose(mesh.shares.sum(1), 1, atol=1e-15)
    corners, fine = hand.v_template[hand.faces], points[mesh.faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    fine_area = np.cross(fine[:, 1] - fine[:, 0], fine[:, 2] - fine[:, 0])
    np.testing.assert_allclose(fine_area.reshape(16, -1, 3).sum(0).sum(0), area.sum(0), atol=1e-12)
    assert np.isclose(np.linalg.norm(fine_area, axis=1).sum(), np.linalg.norm(area, axis=1).sum(), rtol=1e-12)


def test_subdivide_one_triangle() -> None:
    mesh = subdivide(np.array([[0, 1, 2]]), 3)
    points = mesh.interpolate(np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]]))
    np.testing.assert_array_equal(sorted(points[3:].tolist()), [[0, 1, 0], [1, 0, 0], [1, 1, 0]])
    assert len(mesh.faces) == 4


def test_detail_colours_agree_with_the_coarse_ones(hand: HandModel) -> None:
    np.testing.assert_allclose(detail_templates(hand).colors[:, :778], templates(hand).colors, atol=1e-5)


def test_looks_follow_from_the_generator_alone() -> None:
    draws = [sample_appearance(np.random.default_rng((7, 0, k)), shading=True) for k in range(200)]
    assert draws == [sample_appearance(np.random.default_rng((7, 0, k)), shading=True) for k in range(200)]
    assert len({look.template for look in draws}) > 45
    for look in draws:
        assert look.light is not None
        assert np.isclose(np.linalg.norm(look.light.direction), 1)
        assert look.light.direction[2] < 0
        assert look.light.ambient > 0.1  # linear light: what faces away is never black


def test_published_looks_are_plain_colours() -> None:
    look = sample_appearance(np.random.default_rng(0), shading=False)
    assert look == Appearance(look.template)
    colors = templates().colors[look.template]
    np.testing.assert_array_equal(skin_colors(look, colors), colors)
    image = np.full((8, 8, 3), 90, np.uint8)
    assert develop(image, look, np.random.default_rng(0)) is image


def test_developing_adds_noise_and_moves_nothing() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[24:40, 24:40] = 200
    look = Appearance(0, blur_px=0.5, noise=0.01)
    first, again = (develop(image, look, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert 1.5 < float(first[28:36, 28:36].astype(float).std()) < 4
    weight = first[..., 0].astype(float)
    weight[image[..., 0] == 0] *= weight[image[..., 0] == 0] > 15
    rows = (weight.sum(1) * (np.arange(64) + 0.5)).sum() / weight.sum()
    assert abs(rows - 32) < 0.1


@pytest.mark.parametrize("shading", [True, False])
def test_looks_are_kept_to_the_tones_asked_for(shading: bool) -> None:
    def tones(*skin: int) -> set[int]:
        rng = np.random.default_rng(0)
        asked = (skin[0], skin[1])
        return {int(templates().monk[sample_appearance(rng, shading=shading, skin=asked).template]) for _ in range(200)}

    assert tones(1, 4) == {1, 2, 3, 4}
    assert tones(10, 10) == {10}
    for seed in range(20):
        free, all_tones = (
            sample_appearance(np.random.default_rng(seed), shading=shading, **chosen)
            for chosen in ({}, {"skin": (1, 10)})
        )
        assert free == all_tones
    with pytest.raises(HandkitError, match="no skin template is of a tone from 7 to 6"):
        tones(7, 6)
