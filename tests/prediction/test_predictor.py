"""The function: arrays to predictions, against the sampler and the model put together by hand."""

import importlib
from functools import partial

import numpy as np
import pytest
import torch
from support.packing import TRIANGLE
from support.prediction import CLASSES, moving_clip, with_input, write_run

from fastpose._command import load_command
from fastpose.data import ClipSampler, Denoiser, PackedClips, get_layout
from fastpose.data.pack.layouts import convert
from fastpose.models.inputs.motionbert_published import match_clips
from fastpose.models.motionbert import MotionBERT
from fastpose.models.registry import MODELS
from fastpose.prediction.predictor import Prediction, Predictor, fit_layout, predict
from fastpose.settings.files import from_preset
from fastpose.weights.runs import load_model

SIZE = (480, 640)
GIVEN = {"layout": "coco17", "image_size": SIZE}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.load(run, precision="fp32")


def pack(*keypoints, layout="coco17", names=None):
    names = names or [f"clip_{i:06d}" for i in range(len(keypoints))]
    clips = [
        {"name": name, "keypoints": points, "label": 0, "image_size": SIZE}
        for name, points in zip(names, keypoints, strict=True)
    ]
    return PackedClips.from_clips(clips, layout=layout)


def by_hand(run, packed, draws=(None,), flips=(False,)):
    """Mean softmax [n, K] and features [n, 512]."""
    model, card = load_model(run)
    sampler = ClipSampler(packed, card.config.data.sampling, train=False, max_persons=card.max_persons)
    outputs = []
    with torch.inference_mode():
        for draw in draws:
            for flip in flips:
                batch = sampler.batch(
                    np.arange(len(packed)), epoch=draw or 0, stream=3, draw_frames=draw is not None, flip=flip
                )
                outputs.append(model(model.prepare_input(batch)))
    scores = torch.stack([output.logits.softmax(1) for output in outputs]).mean(0)
    return scores.numpy(), torch.stack([output.features for output in outputs]).mean(0).numpy()


def assert_is(prediction, scores, features, top_k=4):
    order = np.argsort(-scores)[:top_k]
    assert prediction.labels.tolist() == order.tolist()
    assert prediction.names == tuple(CLASSES[label] for label in order)
    np.testing.assert_allclose(prediction.scores, scores[order], atol=1e-5)
    np.testing.assert_allclose(prediction.features, features, atol=1e-4)
    assert not prediction.windows


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("posec3d", "skeleton"),
        ("posec3d", "heatmap"),
        ("posec3d_k400", "grayscale"),
        ("c3d_light", "heatmap"),
        ("x3d_shallow", "limb"),
        ("dct_mlp", "skeleton"),
    ],
)
def test_one_clip(tmp_path, model, kind):
    run = write_run(tmp_path, config=with_input(kind, model))
    keypoints = moving_clip(persons=2)
    prediction = predict(keypoints, model=run, precision="fp32", **GIVEN)
    scores, features = by_hand(run, pack(keypoints))
    assert scores.max() < 0.999  # random weights do tell clips apart, and not by overflow
    assert_is(prediction, scores[0], features[0])
    assert (prediction.first_frame, prediction.last_frame, prediction.num_frames) == (0, 19, 20)
    assert str(prediction).startswith(f"clip_000000: {prediction.names[0]} {100 * scores.max():.1f} %, ")


@pytest.mark.parametrize(("model", "kind"), [("posec3d", "skeleton"), ("x3d_shallow", "heatmap")])
def test_products_of_whole_numbers(tmp_path, model, kind):
    run = write_run(tmp_path, config=with_input(kind, model))
    keypoints = moving_clip(persons=2)
    exact, short, whole = (
        predict(keypoints, model=run, precision=precision, **GIVEN).features
        for precision in ("fp32", "bf16", "int8")
    )
    error, of_bf16 = (np.linalg.norm(features - exact) for features in (whole, short))
    assert 0 < error < 3 * of_bf16  # random weights amplify either


def test_several_clips_are_each_as_alone(run, predictor):
    clips = [moving_clip(i, persons=1 + i % 2, frames=5 + 7 * i) for i in range(5)]
    scores, features = by_hand(run, pack(*clips))
    small = Predictor.load(run, precision="fp32", batch_size=2)
    for each in (predictor, small):
        predictions = predict(clips, model=each, top_k=2, **GIVEN)
        assert [p.name for p in predictions] == [f"clip_{i:06d}" for i in range(5)]
        for i, prediction in enumerate(predictions):
            assert_is(prediction, scores[i], features[i], top_k=2)
            assert prediction.num_frames == 5 + 7 * i


def test_forms_of_the_arguments(predictor):
    keypoints = np.stack([moving_clip(0), moving_clip(1)])  # [2, 1, 20, 17, 2]
    scores = np.random.default_rng(0).uniform(0.1, 1, keypoints.shape[:4])
    expected = predict(list(keypoints), list(scores), model=predictor, **GIVEN)
    joined = np.concatenate([keypoints, scores[..., None]], -1)
    for form in (
        (keypoints, scores),
        (torch.tensor(keypoints), torch.tensor(scores)),
        ([torch.tensor(clip) for clip in keypoints], [torch.tensor(score) for score in scores]),
        (keypoints.tolist(), scores.tolist()),
        ([clip[0] for clip in keypoints], [score[0] for score in scores]),
        (joined, None),
        (list(joined[:, 0]), None),
    ):
        for a, b in zip(predict(*form, model=predictor, **GIVEN), expected, strict=True):
            assert np.array_equal(a.scores, b.scores)
    for form in (keypoints[0], keypoints[0, 0], keypoints[0].tolist(), torch.tensor(keypoints[0, 0])):
        one = predict(form, model=predictor, **GIVEN)
        assert isinstance(one, Prediction)
        assert np.array_equal(one.labels, predict(keypoints[0], model=predictor, **GIVEN).labels)


def test_several_samplings_and_flips_are_averaged(run):
    keypoints = moving_clip(frames=60)
    settings = {"num_clips": 3, "flip": True, "precision": "fp32"}
    prediction = predict(keypoints, model=run, **settings, **GIVEN)
    scores, features = by_hand(run, pack(keypoints), draws=(0, 1, 2), flips=(False, True))
    assert_is(prediction, scores[0], features[0])


def test_keypoints_are_filtered_first(run):
    rng = np.random.default_rng(0)
    clips = pack(*(moving_clip() + 20 * rng.standard_normal(moving_clip().shape) for _ in range(2)))
    plain = Predictor.load(run, precision="fp32")
    found = Predictor.load(run, precision="fp32", denoise="sure").predict(clips)
    for ours, theirs in zip(found, plain.predict(Denoiser().filter_clips(clips)), strict=True):
        assert np.array_equal(ours.scores, theirs.scores)
    with pytest.raises(ValueError, match="not a prior of body motion"):
        Predictor.load(run, denoise=str(run / "model.safetensors"))


def test_what_the_file_says_is_applied_without_being_told(run, tmp_path):
    rng = np.random.default_rng(0)
    clips = pack(*(moving_clip(i) + 20 * rng.standard_normal(moving_clip().shape) for i in range(6)))
    prior = tmp_path / "prior.safetensors"
    Denoiser.fit(clips).save(prior)
    results = {}
    for choice in ("off", "sure", str(prior)):
        file = tmp_path / "exported.safetensors"
        assert load_command("export").main([str(run), "--out", str(file), "--denoise", choice]) == 0
        told = Predictor.load(run, precision="fp32", denoise=choice).predict(clips)
        silent = Predictor.load(file, precision="fp32").predict(clips)
        overridden = Predictor.load(file, precision="fp32", denoise="off").predict(clips)
        results[choice] = np.stack([one.scores for one in told])
        assert np.array_equal(np.stack([one.scores for one in silent]), results[choice])
        assert np.array_equal(np.stack([one.scores for one in overridden]), results["off"])
    assert not np.array_equal(results["off"], results["sure"])
    assert not np.array_equal(results["sure"], results[str(prior)])


def test_a_long_clip_is_the_mean_of_its_windows(run):
    keypoints = moving_clip(persons=2, frames=50)
    prediction = predict(keypoints, model=run, window=20, precision="fp32", **GIVEN)
    spans = [(0, 19), (10, 29), (20, 39), (30, 49)]
    assert [(part.first_frame, part.last_frame) for part in prediction.windows] == spans
    assert (prediction.name, prediction.first_frame, prediction.last_frame) == ("clip_000000", 0, 49)
    parts = [keypoints[:, first : last + 1] for first, last in spans]
    scores, features = by_hand(run, pack(*parts))
    for part, score, feature in zip(prediction.windows, scores, features, strict=True):
        assert_is(part, score, feature)
        assert part.name == "clip_000000"
    order = np.argsort(-scores.mean(0))
    assert prediction.labels.tolist() == order.tolist()
    np.testing.assert_allclose(prediction.scores, scores.mean(0)[order], atol=1e-5)
    np.testing.assert_allclose(prediction.features, features.mean(0), atol=1e-4)


def test_which_clips_are_cut(run):
    def num_windows(frames, **settings):
        return len(predict(moving_clip(frames=frames), model=run, **settings, **GIVEN).windows)

    assert num_windows(900) == 0
    assert num_windows(901) == 6  # at 0, 150, …, 600 and 601
    assert num_windows(901, window=0) == 0
    assert num_windows(21, window=20) == 2
    assert num_windows(40, window=20, stride=20) == 2
    assert num_windows(3, window=1) == 3


def test_windows_without_anybody_are_left_out(run):
    keypoints = moving_clip(frames=40)
    keypoints[:, 8:30] = np.nan
    prediction = predict(keypoints, model=run, window=10, stride=5, precision="fp32", **GIVEN)
    assert [part.first_frame for part in prediction.windows] == [0, 5, 25, 30]
    assert prediction.last_frame == 39
    mean = np.zeros(4)
    for part in prediction.windows:
        mean[part.labels] += part.scores / 4
    np.testing.assert_allclose(mean[prediction.labels], prediction.scores, atol=1e-6)


def test_kinect_joints_are_converted(run, predictor):
    kinect = moving_clip(joints=25)
    prediction = predict(kinect, model=predictor, layout="kinect25", image_size=SIZE)
    layouts = get_layout("kinect25"), get_layout("coco17")
    keypoints, joint_scores = convert(kinect, np.ones(kinect.shape[:3], np.float32), *layouts)
    same = predict(keypoints, joint_scores, model=predictor, **GIVEN)
    assert np.array_equal(prediction.scores, same.scores)
    assert np.array_equal(prediction.labels, same.labels)


def test_layouts_of_as_many_joints_are_not_mixed_up(tmp_path):
    run = write_run(tmp_path, layout="h36m17")
    coco = moving_clip()
    with pytest.raises(ValueError, match="takes layout 'h36m17', but the joints are those of 'coco17'"):
        predict(coco, model=run, **GIVEN)
    converted = predict(coco, model=run, convert=True, precision="fp32", **GIVEN)
    scores, features = by_hand(run, pack(coco).convert_layout("h36m17"))
    assert_is(converted, scores[0], features[0])


def test_a_layout_without_conversion(predictor):
    with pytest.raises(
        ValueError, match="takes layout 'coco17', but the joints are those of 'triangle': no con"
    ):
        predict(moving_clip(joints=3), model=predictor, layout=TRIANGLE, image_size=SIZE)


def test_joints_alike_take_the_pairs_of_the_model():
    coco = get_layout("coco17")
    unpaired = type(coco)("mine", coco.joints, (), ())
    packed = pack(moving_clip(), layout=unpaired)
    assert fit_layout(packed, coco).layout == coco


@pytest.mark.parametrize(
    ("keypoints", "changes", "message"),
    [
        (moving_clip() / 640, {}, "clip 'clip_000000': the keypoints look normalised"),
        ([moving_clip(), moving_clip() * np.nan], {}, "clip 'clip_000001': no joint is present"),
        (moving_clip(joints=13), {}, r"\[M, T, 17, 2\] for layout 'coco17', got \[1, 20, 13, 2\]"),
        (moving_clip()[:, :0], {}, "no frame"),
        (moving_clip(), {"layout": "mpii"}, "no layout 'mpii'"),
        (moving_clip(), {"layout": None}, "no layout 'None'"),
        (moving_clip(), {"model": None}, "model must be the path of a run or a Predictor, got a NoneType"),
        (moving_clip(), {"model": torch.nn.ReLU()}, "or a Predictor, got a ReLU"),
        (moving_clip(), {"image_size": 480}, "image_size must be two integers"),
        (moving_clip(), {"scores": np.ones((1, 20, 3))}, r"scores must be \[1, 20, 17\]"),
        ([moving_clip()] * 2, {"scores": [np.ones((1, 20, 17))]}, "scores must be a list of 2"),
        (moving_clip(), {"model": "absent"}, "absent: not found"),
        (moving_clip(), {"top_k": 0}, "top_k must be an integer from 1"),
        (moving_clip(), {"num_clips": 0}, "num_clips must be an integer from 1"),
        (moving_clip(), {"window": -1}, "window must be an integer from 0"),
        (moving_clip(), {"window": 5, "stride": 6}, "stride must be an integer from 1 to 5"),
        (moving_clip(), {"device": "tpu"}, "device = 'tpu'"),
    ],
)
def test_mistakes(run, keypoints, changes, message):
    with pytest.raises(ValueError, match=message):
        predict(keypoints, **{"model": run, **GIVEN, **changes})


def test_settings_of_a_loaded_model(predictor):
    with pytest.raises(ValueError, match="flip: settings of a Predictor are given when it is made"):
        predict(moving_clip(), model=predictor, flip=True, **GIVEN)


def test_the_name_of_the_command_is_the_function():
    fastpose = importlib.import_module("fastpose")
    command = load_command("predict")
    assert callable(command.main)
    assert fastpose.predict is predict


def test_joints_too_far_away_to_count(predictor):
    keypoints = moving_clip()
    keypoints[0, 0, 0] = 2e6
    with pytest.warns(UserWarning, match="^1 joints lie more than 1,000,000 pixels from the image"):
        predict(keypoints, model=predictor, **GIVEN)


def test_a_folder_that_holds_the_run(tmp_path):
    (tmp_path / "a").mkdir()
    run = write_run(tmp_path / "a")
    found, named = (predict(moving_clip(), model=path, **GIVEN) for path in (tmp_path, run))
    assert np.array_equal(found.scores, named.scores)
    write_run(tmp_path / "b")
    with pytest.raises(ValueError, match="holds 2 runs; name one of a, b"):
        predict(moving_clip(), model=tmp_path, **GIVEN)


@pytest.mark.parametrize("preset", ["motionbert", "motionbert-published"])
def test_motionbert(tmp_path, monkeypatch, preset):
    tiny = partial(MotionBERT, dim_feat=16, dim_rep=8, depth=1, num_heads=2, hidden_dim=32)
    monkeypatch.setitem(MODELS, "motionbert", tiny)
    config = from_preset(preset)
    run = write_run(tmp_path, config=config)
    clips = [moving_clip(0, frames=30), moving_clip(1, persons=2, frames=40)]
    packed = pack(*clips)
    predictions = predict(clips, model=run, precision="fp32", **GIVEN)

    model, card = load_model(run)
    matched = match_clips(packed) if config.model.published else packed
    sampler = ClipSampler(matched, config.data.sampling, train=False)
    with torch.inference_mode():
        output = model(model.prepare_input(sampler.batch([0, 1])))
    assert output.features.shape == (2, 17 * 8)
    for prediction, logits, features in zip(predictions, output.logits, output.features, strict=True):
        assert_is(prediction, logits.softmax(0).numpy(), features.numpy())
    assert card.layout.name == "coco17"  # what it is fed; its own joints are H36M's


def test_each_person_is_classified_alone(predictor):
    pair, crowd = moving_clip(1, persons=2), moving_clip(2, persons=3, frames=30)
    crowd[1, :4] = crowd[1, 25:] = np.nan  # comes late, leaves early
    crowd[2] = np.nan
    predictions = predict([pair, crowd], model=predictor, per_person=True, **GIVEN)
    spans = [(one.name, one.person, one.first_frame, one.last_frame) for one in predictions]
    assert spans == [
        ("clip_000000", 0, 0, 19),
        ("clip_000000", 1, 0, 19),
        ("clip_000001", 0, 0, 29),
        ("clip_000001", 1, 4, 24),
    ]
    alone = predict([pair[:1], pair[1:], crowd[:1], crowd[1:2, 4:25]], model=predictor, **GIVEN)
    for one, expected in zip(predictions, alone, strict=True):
        assert one.labels.tolist() == expected.labels.tolist()
        np.testing.assert_allclose(one.scores, expected.scores, atol=1e-5)
    assert str(predictions[3]).startswith("clip_000001, person 1: ")
    (lone,) = predict(pair[0], model=predictor, per_person=True, **GIVEN)
    assert (lone.name, lone.person) == ("clip_000000", 0)


def test_windows_of_a_person_count_the_frames_of_the_clip(run):
    keypoints = moving_clip(persons=2, frames=50)
    keypoints[1, :13] = np.nan
    predictions = predict(keypoints, model=run, window=20, per_person=True, precision="fp32", **GIVEN)
    spans = [[(part.first_frame, part.last_frame) for part in one.windows] for one in predictions]
    assert spans == [[(0, 19), (10, 29), (20, 39), (30, 49)], [(13, 32), (23, 42), (30, 49)]]
    assert [(one.first_frame, one.last_frame) for one in predictions] == [(0, 49), (13, 49)]
    assert {part.person for part in predictions[1].windows} == {1}
    scores, _ = by_hand(run, pack(keypoints[1:, 23:43]))
    np.testing.assert_allclose(predictions[1].windows[1].scores, np.sort(scores[0])[::-1], atol=1e-5)


def test_of_a_crowd_the_model_sees_those_who_move(predictor):
    crowd = moving_clip(3, persons=4)
    crowd[0] = crowd[0, :1]  # stand still
    crowd[2] = crowd[2, :1]
    crowd[1] = crowd[1, :1] + np.arange(20)[:, None, None] * 3
    crowd[3] = crowd[3, :1] + np.arange(20)[:, None, None]
    prediction, quiet = predict([crowd, moving_clip(4)], model=predictor, **GIVEN)
    expected, other = predict([crowd[[1, 3]], moving_clip(4)], model=predictor, **GIVEN)
    assert np.array_equal(prediction.scores, expected.scores)
    assert np.array_equal(quiet.scores, other.scores)
