"""Sheets and animations: joints and marks where they belong, a picture for every frame."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from support.scenes import one_clip

from fastpose.data import LAYOUTS, Layout
from fastpose.drawing import animation, sheet
from fastpose.drawing.parts import (
    LINE,
    draw_frame,
    draw_head,
    draw_heatmaps,
    draw_legend,
    draw_time_line,
    frame_centre,
    legend_entries,
    time_lines,
    window_of,
)
from fastpose.drawing.style import LEFT, PAPER, SAMPLED, SIDE_COLOURS, font, shortened
from fastpose.drawing.takes import make_scene
from fastpose.drawing.writing import check_picture, write_picture
from fastpose.ops import render_heatmaps

LEFT_WRIST = LAYOUTS["coco17"].joints.index("left_wrist")


def is_near(colour, expected, most=12):
    return np.abs(np.asarray(colour, int) - expected).max() <= most


def test_a_joint_is_where_the_window_puts_it():
    scene = make_scene(one_clip(num_persons=1))
    take, window = scene.takes[0], window_of(scene)
    cell = draw_frame(scene, take, 5, window, 400)
    x, y = take.keypoints[0, 5, LEFT_WRIST]
    scale = 400 / window.width
    column, row = (x - window.left) * scale - 0.5, (y - window.top) * scale - 0.5
    assert 0 < column < 400
    assert is_near(cell[round(row), round(column)], SIDE_COLOURS[LEFT])


def test_the_window_holds_the_persons_and_not_a_stray_joint():
    packed = one_clip(num_frames=30)
    points = packed.keypoints[packed.scores > 0]
    window = window_of(make_scene(packed))
    assert window.left < points[:, 0].min()
    assert window.left + window.width > points[:, 0].max()
    packed.keypoints[0, 0] = 9e5
    strayed = window_of(make_scene(packed))
    assert (strayed.left, strayed.width) == pytest.approx((window.left, window.width), rel=0.2)
    packed.scores[:] = 0
    nobody = window_of(make_scene(packed))
    assert nobody.left < 0 < 320 < nobody.left + nobody.width


def test_a_sheet_has_a_row_for_every_take_and_marks_the_sampled_frames():
    clean = sheet.draw_sheet(make_scene(one_clip(30), clip_len=4))
    both = sheet.draw_sheet(make_scene(one_clip(30), clip_len=4, noise=0.05))
    maps = sheet.draw_sheet(make_scene(one_clip(30), clip_len=4, input_size=(56, 56), heatmaps=True))
    assert clean.shape[1] == both.shape[1] == 4 * 206 + 6
    assert both.shape[0] > clean.shape[0] + 100
    assert maps.shape[0] > clean.shape[0] + 100
    longer = sheet.draw_sheet(make_scene(one_clip(30), clip_len=9))
    assert longer.shape[1] == 8 * 206 + 6


def test_the_time_line_marks_the_frames_that_a_model_is_given():
    scene = make_scene(one_clip(30), clip_len=5)
    line = draw_time_line(scene, 800)
    ((y, take),) = time_lines(scene)
    green = [
        frame for frame in range(30) if tuple(line[y, round(frame_centre(scene, frame, 800))]) == SAMPLED
    ]
    assert green == take.given.tolist() == [3, 9, 15, 21, 27]


def test_the_time_line_has_gaps_where_noise_leaves_frames_out():
    scene = make_scene(one_clip(40), clip_len=2, noise=0.2, family="drop_block")
    line = draw_time_line(scene, 800)
    (upper, _), (lower, noisy) = time_lines(scene)
    columns = [round(frame_centre(scene, frame, 800)) for frame in range(40)]
    assert [tuple(line[lower, x]) == PAPER for x in columns] == noisy.left_out.tolist()
    assert not any(tuple(line[upper, x]) == PAPER for x in columns)


def test_heatmaps_are_those_of_the_operator():
    scene = make_scene(one_clip(num_persons=1), clip_len=3, input_size=(40, 56), heatmaps=True)
    take = scene.takes[0]
    image = draw_heatmaps(scene, take)
    joints = torch.from_numpy(np.concatenate([take.keypoints, take.scores[..., None]], axis=-1))
    maps = render_heatmaps(joints[None], size=(40, 56))[0].numpy()  # [V, F, H, W]
    assert image.shape == (3, 40, 56, 3)
    strongest, darkest = maps.max(axis=0), image.min(axis=3)
    assert (darkest[strongest > 0.01] < 255).all()
    assert (darkest[strongest == 0] == 255).all()
    frame, row, column = np.unravel_index(np.argmax(maps[LEFT_WRIST]), maps.shape[1:])
    red, _, blue = image[frame, row, column].astype(int)
    assert blue > red


def test_the_legend_names_what_there_is():
    assert [text for text, _, _ in legend_entries(make_scene(one_clip(num_persons=1)))] == [
        "left",
        "right",
        "neither",
    ]
    points = Layout(name="points", joints=("a", "b"))
    assert legend_entries(make_scene(one_clip(num_persons=1, layout=points))) == []
    crowd = [text for text, _, _ in legend_entries(make_scene(one_clip(num_persons=11, layout=points)))]
    assert crowd == [f"person {i}" for i in range(1, 9)] + ["person 9, and so on"]
    assert draw_legend(make_scene(one_clip(num_persons=11)), 400).shape[0] > 3 * LINE


def test_long_texts_stay_within_the_picture():
    scene = make_scene(one_clip(name="long " * 100))
    assert draw_head(scene, 640).shape[1] == 640
    short = shortened(scene.name, 19, 300)
    assert font(19).getlength(short) <= 300
    assert short.startswith("long")
    assert "…" in short
    assert shortened("wide", 19, 1) == "…"
    assert shortened("a\nline", 19, 300) == "a line"


def test_a_gif_has_every_frame_and_marks_the_sampled_ones(tmp_path):
    scene = make_scene(one_clip(10), clip_len=3, noise=0.05)
    write_picture(tmp_path / "a.gif", scene, 20)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (10, 50, 0)
        top = draw_head(scene, gif.width).shape[0] + draw_legend(scene, gif.width).shape[0] + 2 * LINE
        marked = []
        for frame in range(10):
            gif.seek(frame)
            image = np.asarray(gif.convert("RGB"))
            edges = image[top + 1, [animation.GAP + 200, 2 * animation.GAP + animation.CELL + 200]]
            marked.append([is_near(edge, SAMPLED) for edge in edges])
    assert [frame for frame in range(10) if all(marked[frame])] == scene.takes[0].given.tolist()
    assert all(any(pair) == all(pair) for pair in marked)


def test_sampled_frames_alone_last_as_long_as_the_clip(tmp_path):
    scene = make_scene(one_clip(30), clip_len=3, input_size=(56, 56), heatmaps=True)
    write_picture(tmp_path / "a.gif", scene, 25)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 400)


def test_frames_of_a_video_have_even_sides_and_differ():
    frames = list(animation.draw_frames(make_scene(one_clip(4, image_size=(211, 317)))))
    assert len(frames) == 4
    assert all(side % 2 == 0 for side in frames[0].shape[:2])
    assert all((one != other).any() for one, other in pairwise(frames))


def test_an_mp4_has_every_frame(tmp_path):
    av = pytest.importorskip("av")
    write_picture(tmp_path / "a.mp4", make_scene(one_clip(10)), 12.5)
    with av.open(str(tmp_path / "a.mp4")) as video:
        stream = video.streams.video[0]
        assert float(stream.average_rate) == 12.5
        assert sum(1 for _ in video.decode(stream)) == 10


def test_an_mp4_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"an \.mp4 needs the package av"):
        check_picture(tmp_path / "a.mp4")
    check_picture(tmp_path / "a.gif")


def test_pictures_that_cannot_be_written(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.bmp: expected a file that ends in one of \.png, \.gif, \.mp4, \.html"
    ):
        check_picture(tmp_path / "a.bmp")
    with pytest.raises(FileNotFoundError):
        check_picture(tmp_path / "none" / "a.png")
    with pytest.raises(ValueError, match="--fps must be from 0.1 to 1000, got 0"):
        write_picture(tmp_path / "a.gif", make_scene(one_clip()), 0)
    assert list(tmp_path.iterdir()) == []
