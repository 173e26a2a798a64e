"""Training with few labels: what is hidden stays hidden, who trains on what, and the view at another speed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TINY, assert_equal_runs, rows_of, weights_of

from fastpose.data.pack.few_labels import labelled_clips
from fastpose.models import ModelOutput
from fastpose.settings import LossConfig, ModelConfig
from fastpose.training.accumulation import accumulate_gradient
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.training.front_end_choice import choose_front_end
from fastpose.training.setup import Setup
from fastpose.training.task import PoseTask
from fastpose.training.trainer import Trainer

FEW = replace(
    TINY,
    data=replace(TINY.data, labels_per_class=2),
    model=ModelConfig(model="dct_mlp", dropout=0.2),
    loss=LossConfig(ce_views="both", pseudo_threshold=0.4, pseudo_after=1, supcon_weight=0.3),
    optim=replace(TINY.optim, labelled_share=0.4, joint_pass=True, epochs=4),
)


def with_arm(arm, **loss):
    return replace(FEW, arm=arm, loss=replace(FEW.loss, **loss))


def with_optim(**optim):
    return replace(FEW, optim=replace(FEW.optim, **optim))


def hidden_clips(setup):
    labels = setup.draw(setup.train_indices, 0)["clean"].labels.numpy()
    return setup.train_indices[labels < 0]


@pytest.mark.parametrize("order", ["natural", "balanced"])
def test_hidden_labels_change_nothing(tmp_path, monkeypatch, order):
    packed = waving_clips(30)
    config = replace(with_optim(class_order=order), loss=replace(FEW.loss, class_weights="balanced"))
    hidden = hidden_clips(Setup(config, packed))
    assert len(hidden) == 14
    kept = labelled_clips(packed, packed.split("train"), config.data, config.seed)
    monkeypatch.setattr(
        "fastpose.training.setup.labelled_clips", lambda *_: kept
    )  # labels have a part in the draw
    for folder, shift in (("one", 0), ("two", 1)):
        labels = packed.labels.copy()
        labels[hidden] = (labels[hidden] + shift) % 3
        setup = Setup(config, replace(packed, labels=labels))
        assert setup.num_labelled == 6
        (tmp_path / folder).mkdir()
        Trainer(setup, tmp_path / folder, quiet=True).fit()
    assert_equal_runs(tmp_path / "one", tmp_path / "two")
    shares = [float(row["pseudo_labelled_share"]) for row in rows_of(tmp_path / "one/metrics.csv")]
    assert shares[0] == 0 < max(shares) <= 1


def test_a_front_end_is_chosen_by_known_labels(monkeypatch):
    packed, met = waving_clips(60), []

    def measure(config, clips):
        setup = Setup(config, clips)
        met.append({clips.names[i] for i in [*setup.train_indices, *setup.test_indices]})
        return np.ones(6)

    monkeypatch.setattr("fastpose.training.front_end_choice._measure", measure)
    config = replace(FEW, data=replace(FEW.data, labels_per_class=4))
    chosen = choose_front_end(config, packed, echo=lambda text: None)
    assert chosen.data.labels_per_class == 4
    train = packed.split("train")
    known = train[labelled_clips(packed, train, config.data, config.seed)]
    assert all(names == {packed.names[i] for i in known} for names in met)
    assert len(met) >= 6


def test_arms_that_use_no_others_train_on_labelled_clips_alone():
    packed = waving_clips(30)
    for config in (
        with_arm("supervised"),
        with_arm("augmented", pseudo_threshold=1.0),
        with_arm("augmented", ce_views="noisy"),
    ):
        setup = Setup(config, packed)
        assert len(setup.train_indices) == setup.num_labelled == 6
        assert set(setup.order.epoch(0).clips) == set(setup.train_indices)
        assert len(setup.order) == len(Setup(FEW, packed).order)
        view = "noisy" if config.loss.ce_views == "noisy" else "clean"
        assert np.bincount(setup.draw(setup.train_indices, 0)[view].labels).tolist() == [2, 2, 2]
    for config in (with_arm("contrastive", pseudo_threshold=1.0), with_arm("augmented")):
        assert len(Setup(config, packed).train_indices) == 20


def test_the_prior_of_the_filter_needs_no_labels():
    packed = waving_clips(30)
    sampling = replace(FEW.data.sampling, frame_rule="means", motion_filter="white")
    priors = [
        Setup(replace(config, data=replace(config.data, sampling=sampling)), packed).card.prior
        for config in (with_arm("supervised"), with_arm("contrastive"))
    ]
    assert np.array_equal(priors[0].mean, priors[1].mean)


def test_clips_that_come_again_are_drawn_anew():
    setup = Setup(FEW, waving_clips(30))
    clip = setup.train_indices[:1].repeat(2)
    again = setup.draw(clip, 0, np.array([0, 1]))["clean"]
    assert not torch.equal(again.keypoints[0], again.keypoints[1])
    same = setup.draw(clip, 0)["clean"]
    assert torch.equal(same.keypoints[0], same.keypoints[1])
    assert torch.equal(same.keypoints[0], again.keypoints[0])


def test_a_run_that_goes_on_ends_as_one_that_was_not_cut(tmp_path):
    packed = waving_clips(30)
    plan = plan_runs(FEW, ["contrastive"], [0])
    assert list(plan) == ["contrastive-0-0.05-labels-2-a-class-s0"]
    run_experiment(packed, plan, tmp_path / "whole", echo=lambda text: None)
    short = {name: replace(run, optim=replace(run.optim, epochs=2)) for name, run in plan.items()}
    run_experiment(packed, short, tmp_path / "cut", echo=lambda text: None)
    run_experiment(packed, plan, tmp_path / "cut", resume=True, echo=lambda text: None)
    (name,) = plan
    assert_equal_runs(tmp_path / "whole" / name, tmp_path / "cut" / name)


@pytest.mark.parametrize("arm", ["augmented", "contrastive"])
def test_micro_batches_have_the_gradient_of_the_batch(arm):
    """The cross-entropy is a mean over the labelled clips, which may all lie in one part."""
    setup = Setup(replace(with_arm(arm), model=replace(FEW.model, dropout=0.0)), waving_clips(30))
    setup.model.double().eval()
    labelled = np.setdiff1d(setup.train_indices, hidden_clips(setup))
    views = setup.draw(np.concatenate([labelled[:2], hidden_clips(setup)[:4]]), 2)
    gradients = []
    for micro_batch in (None, 2):
        setup.model.zero_grad()
        result = accumulate_gradient(
            setup.task, setup.model, views, 2, lambda: torch.autocast("cpu", enabled=False), micro_batch
        )
        gradients.append([parameter.grad.clone() for parameter in setup.model.parameters()])
        assert result["loss"] > 0
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_labels_are_guessed_from_their_epoch_on():
    task = PoseTask(with_arm("contrastive", gamma1=0.0, gamma2=1.0, supcon_weight=0.0))
    assert [task.phase(epoch) for epoch in range(3)] == [0, 1, 1]
    labels = torch.tensor([0, -1, -1])
    clean = ModelOutput(torch.tensor([[0.0, 5, 0], [0, 0, 5], [0.1, 0, 0]]), torch.eye(3))
    noisy = ModelOutput(torch.zeros(3, 3), torch.eye(3) + 0.1)
    early, late = (task.objective({"clean": clean, "noisy": noisy}, labels, epoch) for epoch in (0, 1))
    assert early["pseudo_labelled_share"] == 0
    assert late["pseudo_labelled_share"] == 0.5
    assert early["loss_group"] == 0  # a class alone
    assert late["loss_group"] > 0
    assert late["loss_ce"] > early["loss_ce"]


@pytest.mark.parametrize("clip_len", [8, 7])
def test_the_view_at_another_speed_shows_half_the_frames_twice(clip_len):
    data = replace(FEW.data, sampling=replace(FEW.data.sampling, clip_len=clip_len, frame_rule="means"))
    tempo = replace(with_optim(views="tempo", alpha="0.3"), data=data)
    setup = Setup(tempo, waving_clips(30))
    assert list(setup.task.views) == ["clean", "slow"]
    views = setup.draw(setup.train_indices[:5], 3)
    slow = views["slow"]
    assert slow.keypoints.shape == views["clean"].keypoints.shape
    assert slow.presence.shape == views["clean"].presence.shape
    for column in (slow.keypoints.transpose(1, 2), slow.frames, slow.presence.transpose(1, 2)):
        assert torch.equal(column[:, 1::2], column[:, : clip_len // 2 * 2 : 2])
    assert not torch.equal(slow.keypoints[:, :, 2], slow.keypoints[:, :, 0])
    noisy = Setup(replace(tempo, optim=replace(tempo.optim, views="both")), waving_clips(30))
    both = noisy.draw(setup.train_indices[:5], 3)
    assert torch.equal(both["slow"].frames, slow.frames)
    assert not torch.equal(both["slow"].keypoints, slow.keypoints)
    assert torch.equal(both["clean"].keypoints, views["clean"].keypoints)


def test_views_at_two_speeds_are_contrasted(tmp_path):
    tempo = with_optim(views="tempo")
    trainer = Trainer(Setup(tempo, waving_clips(30)), tmp_path, quiet=True)
    trainer.fit()
    assert float(rows_of(tmp_path / "metrics.csv")[0]["loss_instance"]) > 0
    assert all(value.isfinite().all() for value in weights_of(tmp_path).values() if value.is_floating_point())
    assert list(plan_runs(tempo, ["contrastive", "augmented"], [1])) == [
        "contrastive-tempo-labels-2-a-class-s1",
        "augmented-0-0.05-labels-2-a-class-s1",
    ]


def test_settings_without_effect_are_told():
    idle = replace(FEW, data=replace(TINY.data, label_seed=3)).idle_settings()
    assert "label_seed has no effect with no label_fraction or labels_per_class" in idle
    assert "pseudo_after has no effect with no label_fraction or labels_per_class" in idle
    assert not with_arm("contrastive").idle_settings()
    views = replace(with_arm("augmented"), optim=replace(FEW.optim, views="tempo"))
    assert "views has no effect with arm = 'augmented'" in views.idle_settings()


def test_classes_by_weight_and_in_balance(tmp_path):
    """On the command's own path: both settings reach the training."""
    packed = waving_clips(30)
    few = packed.subset(np.flatnonzero((packed.labels > 0) | (np.arange(30) % 6 == 0)))
    base = replace(
        TINY,
        arm="supervised",
        model=FEW.model,
        loss=LossConfig(class_weights="balanced"),
        optim=replace(TINY.optim, class_order="balanced"),
    )
    setup = Setup(base, few)
    drawn = setup.order.epoch(0)
    counts = np.bincount(few.labels[drawn.clips])
    assert counts.max() - counts.min() <= 1
    weights = setup.task.loss.class_weights
    assert weights[0] > weights[1] * 1.5
    Trainer(setup, tmp_path, quiet=True).fit()
    assert float(rows_of(tmp_path / "metrics.csv")[-1]["loss"]) > 0
