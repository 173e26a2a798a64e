"""A run with a front end, from its clips to predictions: its prior is learned, travels with the weights, is used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fastpose.data import ClipSampler, PackedClips
from fastpose.evaluation.runs import evaluate_runs
from fastpose.evaluation.scores import score_clips
from fastpose.prediction.predictor import Predictor
from fastpose.settings import DataConfig, EvalConfig, ModelConfig, OptimConfig, RunConfig, SamplingConfig
from fastpose.training.experiment import run_experiment
from fastpose.training.setup import Setup
from fastpose.weights.exporting import CARD_FILE, export_model
from fastpose.weights.runs import load_card, load_model

SAMPLING = SamplingConfig(
    clip_len=8, size=(16, 16), frame_rule="means", crop="spread", motion_filter="colours", evidence=True
)


def clips(count=24, seed=0):
    rng = np.random.default_rng(seed)
    places = rng.normal([320, 240], 60, (17, 2))
    for i in range(count):
        time = np.linspace(0, 1, int(rng.integers(9, 30)))[:, None, None]
        motion = 40 * np.sin(2 * np.pi * (1 + i % 2) * time + rng.uniform(0, 6)) * np.ones((1, 17, 2))
        points = (places + motion + rng.normal(0, 1, (len(time), 17, 2)))[None].astype(np.float32)
        yield {"name": f"c{i}", "keypoints": points, "label": i % 2, "image_size": (480, 640),
               "split": "train" if i < 16 else "test"}  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    made = list(clips())
    splits = {name: [clip["name"] for clip in made if clip["split"] == name] for name in ("train", "test")}
    plain = [{key: value for key, value in clip.items() if key != "split"} for clip in made]
    pack = PackedClips.from_clips(plain, layout="coco17", splits=splits)
    path = tmp_path_factory.mktemp("pack") / "clips.safetensors"
    pack.save(path)
    return path


@pytest.fixture(scope="module")
def run(packed, tmp_path_factory):
    config = RunConfig(
        arm="augmented",
        data=DataConfig(data=str(packed), sampling=SAMPLING),
        model=ModelConfig(model="dct_mlp"),
        optim=OptimConfig(epochs=2, batch_size=8, alpha="0:0.2", precision="fp32"),
        eval=EvalConfig(alphas=(0.0, 0.1)),
    )
    out = tmp_path_factory.mktemp("runs")
    curves = run_experiment(PackedClips.load(packed), {"one": config}, out, echo=lambda text: None)
    return out / "one", curves["one"]


def test_the_prior_travels_with_the_weights(run, packed):
    folder, _ = run
    card = load_card(folder)
    assert card.prior is not None
    assert (card.prior.clip_len, card.prior.num_joints) == (8, 17)
    network, same = load_model(folder)
    assert np.array_equal(same.prior.directions, card.prior.directions)
    assert network.in_channels == 1 * 17 * 3 + 2


def test_evaluation_measures_what_training_measured(run, tmp_path, capsys):
    folder, curve = run
    again = evaluate_runs({"one": folder}, EvalConfig(alphas=(0.0, 0.1)), tmp_path, precision="fp32")
    assert [again["one"][alpha].top1_percent for alpha in (0.0, 0.1)] == [
        curve[alpha].top1_percent for alpha in (0.0, 0.1)
    ]


def test_prediction_looks_through_the_same_front_end(run, packed):
    folder, _ = run
    clips = PackedClips.load(packed)
    model, card = load_model(folder)
    sampler = ClipSampler(clips, SAMPLING, train=False, prior=card.prior)
    with torch.inference_mode():
        expected = model(model.prepare_input(sampler.batch(range(clips.num_clips), stream=3))).logits.softmax(
            1
        )
    found = Predictor.load(folder, precision="fp32").predict(clips, top_k=2)
    scores = np.stack([each.scores[np.argsort(each.labels)] for each in found])
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_denoising_stands_before_the_front_end(run, packed):
    folder, _ = run
    model, card = load_model(folder)
    clips = PackedClips.load(packed)
    settings = EvalConfig(alphas=(0.1,), denoise="sure")
    sampler = ClipSampler(clips, SAMPLING, train=False, prior=card.prior)
    one = score_clips(model, clips, settings=settings, sampler=sampler)
    two = score_clips(model, clips, None, SAMPLING, settings, prior=card.prior)
    torch.testing.assert_close(one.by_alpha[0.1], two.by_alpha[0.1])


@pytest.mark.parametrize("format", ["safetensors", "torch"])
def test_an_exported_model_takes_its_prior_along(run, tmp_path, format):
    folder, _ = run
    model, card = load_model(folder)
    target = tmp_path / "model"
    export_model(model, card, target, format)
    if format == "safetensors":
        prior = load_card(target).prior
    else:
        files = {CARD_FILE: ""}
        torch.export.load(target, extra_files=files)
        metadata = json.loads(files[CARD_FILE])
        prior = type(card).from_metadata(metadata, target).prior
    np.testing.assert_array_equal(prior.variances, card.prior.variances)


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", json.dumps({"mean": "?", "directions": "", "variances": ""})]
)
def test_a_damaged_prior_is_told_with_its_file(run, damage):
    card = load_card(run[0])
    metadata = card.to_metadata() | {"prior": damage}
    with pytest.raises(ValueError, match="model.safetensors: the prior of its motion filter cannot be read"):
        type(card).from_metadata(metadata, Path("model.safetensors"))


def test_other_frames_than_in_training_need_no_other_prior(run, tmp_path, capsys):
    folder, _ = run
    curves = evaluate_runs(
        {"one": folder}, EvalConfig(alphas=(0.0,)), tmp_path, clip_len=20, precision="fp32"
    )
    assert curves["one"][0.0].num_clips == 8


@pytest.mark.parametrize(
    ("model", "input"), [("posec3d", "heatmap"), ("posec3d", "skeleton"), ("motionbert_lite", "skeleton")]
)
def test_all_inputs_see_filtered_keypoints(model, input, packed):
    """What a network is given is made of the keypoints that the front end filtered."""
    from fastpose.training.setup import Setup

    config = RunConfig(
        data=DataConfig(data=str(packed), sampling=SAMPLING),
        model=ModelConfig(model=model, input=input),
        optim=OptimConfig(alpha="0.1"),
    )
    if model == "motionbert_lite":
        config = replace(config, data=replace(config.data, sampling=replace(SAMPLING, crop="frame")))
    setup = Setup(config, PackedClips.load(packed))
    views = setup.draw(setup.train_indices[:4], 0)
    noisy = views["noisy"]
    assert noisy.presence is not None
    raw = ClipSampler(setup.packed, replace(setup.config.data.sampling, motion_filter="off"), max_persons=1)
    unfiltered = raw.batch(setup.train_indices[:4], stream=1, alpha=0.1)
    assert not torch.equal(unfiltered.keypoints, noisy.keypoints)
    output = setup.model(setup.model.prepare_input(noisy))
    assert output.logits.isfinite().all()


def test_too_few_persons_for_a_prior(packed):
    lonely = PackedClips.load(packed).subset([0, 20])
    config = RunConfig(data=DataConfig(sampling=SAMPLING), model=ModelConfig(model="dct_mlp"))
    with pytest.raises(
        ValueError, match=r"motion_filter = 'colours': .* got 1 among .*; --front-end means trains"
    ):
        Setup(config, lonely)
