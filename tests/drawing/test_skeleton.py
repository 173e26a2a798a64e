"""Skeletons of one frame on an image: where they are, in which colour, and what is not drawn."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data import LAYOUTS, Layout
from fastpose.drawing.skeleton import draw_skeletons
from fastpose.drawing.style import (
    LEFT,
    NEITHER,
    PAPER,
    RIGHT,
    SIDE_COLOURS,
    joint_sides,
    limb_sides,
    paler,
    person_style,
)

COCO = LAYOUTS["coco17"]
NOSE, LEFT_WRIST, RIGHT_WRIST, LEFT_ELBOW = (
    COCO.joints.index(name) for name in ("nose", "left_wrist", "right_wrist", "left_elbow")
)
POINTS = Layout(name="points", joints=("a", "b"))


def paper(height=120, width=160):
    return np.full((height, width, 3), 255, np.uint8)


def spread(count=17):
    """Joints on a grid, 30 px apart, so that no two marks touch."""
    return np.array([[15 + 30 * (v % 5), 15 + 30 * (v // 5)] for v in range(count)], np.float32)[None]


def changed(before, after):
    return (before != after).any(axis=2)


def test_joints_have_the_colour_of_their_side():
    points, scores = spread(), np.ones((1, 17), np.float32)
    image = draw_skeletons(paper(), points, scores, COCO)
    for joint, side in ((NOSE, NEITHER), (LEFT_WRIST, LEFT), (RIGHT_WRIST, RIGHT)):
        x, y = points[0, joint].astype(int)
        assert tuple(image[y, x]) == SIDE_COLOURS[side]


def test_limbs_have_the_side_of_their_ends():
    sides = dict(zip(COCO.limbs, limb_sides(COCO), strict=True))
    assert sides[0, 5] == LEFT  # nose to left shoulder
    assert sides[8, 10] == RIGHT  # right elbow to right wrist
    assert sides[11, 12] == NEITHER  # hip to hip
    assert joint_sides(POINTS) == [NEITHER, NEITHER]


def test_a_mark_lies_round_its_joint():
    points, scores = np.array([[[40.0, 30.0], [100.0, 90.0]]]), np.array([[1.0, 0.0]])
    drawn = changed(paper(), draw_skeletons(paper(), points, scores, POINTS, width=4.0))
    rows, columns = np.nonzero(drawn)
    assert (rows.mean(), columns.mean()) == pytest.approx((30, 40), abs=0.2)
    assert np.ptp(rows) + 1 == pytest.approx(2 * 1.4 * 4, abs=2)


def test_what_is_missing_is_not_drawn():
    points, scores = spread(), np.zeros((1, 17), np.float32)
    scores[0, [NOSE, LEFT_WRIST]] = 1
    points[0, LEFT_ELBOW] = np.nan
    drawn = changed(paper(), draw_skeletons(paper(), points, scores, COCO))
    near = np.zeros_like(drawn)
    for joint in (NOSE, LEFT_WRIST):
        x, y = points[0, joint].astype(int)
        near[y - 6 : y + 7, x - 6 : x + 7] = True
    assert drawn.any()
    assert not (drawn & ~near).any()  # neither other joints, nor the limb from elbow to wrist


def test_a_limb_is_drawn_between_both_its_ends():
    points, scores = spread(), np.zeros((1, 17), np.float32)
    scores[0, [LEFT_ELBOW, LEFT_WRIST]] = 1
    middle = points[0, [LEFT_ELBOW, LEFT_WRIST]].mean(axis=0).astype(int)
    image = draw_skeletons(paper(), points, scores, COCO, width=3.0)
    assert tuple(image[middle[1], middle[0]]) == SIDE_COLOURS[LEFT]


def test_lower_scores_are_paler():
    points = np.array([[[40.0, 30.0], [100.0, 90.0]]])
    image = draw_skeletons(paper(), points, np.array([[1.0, 0.2]]), POINTS, width=4.0)
    assert tuple(image[30, 40]) == SIDE_COLOURS[NEITHER]
    assert tuple(image[90, 100]) == paler(SIDE_COLOURS[NEITHER], 0.2) == (133, 133, 133)
    assert paler((10, 20, 30), 7.0) == (10, 20, 30)


def test_persons_look_different_from_each_other():
    styles = [person_style(person) for person in range(9)]
    assert len(set(styles)) == 9
    for part in range(2):
        assert len({style[part] for style in styles[:3]}) == 3
    points, scores = spread(), np.ones((1, 17), np.float32)
    nobody = np.zeros_like(scores)
    first = draw_skeletons(paper(), np.concatenate([points, points]), np.concatenate([scores, nobody]), COCO)
    second = draw_skeletons(paper(), np.concatenate([points, points]), np.concatenate([nobody, scores]), COCO)
    assert (first != second).any()
    both = draw_skeletons(paper(), np.concatenate([points, points]), np.concatenate([scores, scores]), COCO)
    x, y = points[0, LEFT_WRIST].astype(int)
    assert tuple(both[y, x]) == SIDE_COLOURS[LEFT]  # the first is on top


def test_texts_stand_above_their_person_and_within_the_image():
    points, scores = spread() + np.array([0, 30]), np.ones((1, 17), np.float32)
    plain = draw_skeletons(paper(), points, scores, COCO)
    named = draw_skeletons(paper(), points, scores, COCO, text_for_person=["walk\n0.9"])
    rows = np.nonzero(changed(plain, named))[0]
    assert rows.size > 20
    assert rows.max() < points[0, :, 1].min()
    corner = draw_skeletons(paper(), points - (90, 120), scores, COCO, text_for_person=["walk"])
    assert changed(draw_skeletons(paper(), points - (90, 120), scores, COCO), corner).any()
    assert (draw_skeletons(paper(), points, scores, COCO, text_for_person=[None]) == plain).all()


def test_the_image_stays_as_it_was_and_joints_may_be_far_outside():
    image, points, scores = paper(), spread(), np.ones((1, 17), np.float32)
    points[0, NOSE], points[0, LEFT_WRIST] = (1e6, -1e6), (-1e6, 1e6)
    drawn = draw_skeletons(image, points, scores, COCO)
    assert (image == 255).all()
    assert changed(image, drawn).any()
    assert (draw_skeletons(image, points + 5e5, scores, COCO) == 255).all()
    assert (draw_skeletons(image, np.zeros((0, 17, 2)), np.zeros((0, 17)), COCO) == 255).all()
    for style in range(3):  # dashes of a line a million pixels long
        many = np.zeros((3, 17, 2)), np.zeros((3, 17))
        many[0][style], many[1][style] = points[0], 1
        assert draw_skeletons(image, *many, COCO).shape == image.shape


@given(st.data())
def test_nothing_is_drawn_beside_the_joints(data):
    persons, seed = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    points = rng.uniform(-80, 240, (persons, 17, 2))
    scores = rng.choice([-1.0, 0.0, 0.3, 1.0, np.nan, np.inf], (persons, 17))
    image = rng.integers(0, 256, (90, 130, 3), np.uint8)
    drawn = draw_skeletons(image, points, scores, COCO, width=2.0)
    present = (scores > 0) & np.isfinite(scores)
    rows, columns = np.nonzero(changed(image, drawn))
    if not present.any():
        assert rows.size == 0
        return
    low, high = points[present].min(axis=0) - 5, points[present].max(axis=0) + 5
    assert ((columns >= low[0]) & (columns <= high[0]) & (rows >= low[1]) & (rows <= high[1])).all()


# How a colour looks to eyes without one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1), of linear RGB.
EYES = {
    "protanope": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranope": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanope": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


@pytest.mark.parametrize("eyes", EYES)
def test_sides_differ_to_colour_blind_eyes(eyes):
    seen = [
        np.clip(np.array(EYES[eyes]) @ (np.array(colour) / 255) ** 2.2, 0, 1) ** (1 / 2.2)
        for colour in (*SIDE_COLOURS, PAPER)
    ]
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(one - other) > 0.35


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            (paper().astype(float), spread(), np.ones((1, 17)), COCO),
            r"image must be uint8 \[H, W, 3\], got float64",
        ),
        ((paper()[..., 0], spread(), np.ones((1, 17)), COCO), r"got uint8 \[120, 160\]"),
        (
            (paper(), spread(13), np.ones((1, 13)), COCO),
            r"'coco17' needs keypoints \[M, 17, 2\].*got \[1, 13, 2\]",
        ),
        ((paper(), spread(), np.ones(17), COCO), r"and \[17\]"),
    ],
)
def test_wrong_arguments(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        draw_skeletons(*arguments)


def test_wrong_width_and_texts():
    with pytest.raises(ValueError, match="width must be above 0 pixels, got 0"):
        draw_skeletons(paper(), spread(), np.ones((1, 17)), COCO, width=0)
    with pytest.raises(ValueError, match="a text for each of 1 persons, got 2"):
        draw_skeletons(paper(), spread(), np.ones((1, 17)), COCO, text_for_person=["a", "b"])
