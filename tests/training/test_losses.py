"""The objective is the weighted sum of the operators, each fed what the settings say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

from fastpose.models import ModelOutput
from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss
from fastpose.settings import LossConfig, RunConfig
from fastpose.training import losses
from fastpose.training.losses import PoseLoss, class_weights
from fastpose.training.task import PoseTask

LABELS = torch.tensor([0, 2, 2, 1, 0])


def output(seed, clips=5):
    generator = torch.Generator().manual_seed(seed)
    logits, features = (torch.randn(clips, width, generator=generator) for width in (3, 6))
    return ModelOutput(logits.requires_grad_(), features.requires_grad_())


def loss_of(**settings):
    return PoseLoss(LossConfig(**{"gamma1": 0.0, "gamma2": 0.0, **settings}))


@pytest.fixture
def views():
    return output(0), output(1)


@pytest.mark.parametrize("representation", ["features", "logits", "softmax"])
@pytest.mark.parametrize("group_labels", ["true", "pseudo"])
def test_weighted_sum(views, representation, group_labels):
    clean, noisy = views
    settings = {"temperature": 0.5, "symmetric": True}
    loss = loss_of(
        gamma1=2.0,
        gamma2=0.3,
        supcon_weight=0.5,
        label_smoothing=0.1,
        supcon_temperature=0.2,
        representation=representation,
        group_labels=group_labels,
        **settings,
    )
    result = loss(clean, LABELS, clean, noisy)
    o, n = (
        {"features": v.features, "logits": v.logits, "softmax": v.logits.softmax(1)}[representation]
        for v in views
    )
    groups, groups_n = (LABELS, LABELS) if group_labels == "true" else (v.logits.argmax(1) for v in views)
    expected = {
        "loss_ce": F.cross_entropy(clean.logits, LABELS, label_smoothing=0.1),
        "loss_instance": contrastive_loss(o, n, **settings),
        "loss_group": group_contrastive_loss(o, n, groups, 3, groups_n, **settings),
        "loss_supcon": supervised_contrastive_loss(torch.cat([o, n]), torch.cat([LABELS, LABELS]), 0.2),
    }
    assert result.keys() == {"loss", *expected}
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value.detach())
        assert not result[name].requires_grad
    ce, instance, group, supcon = expected.values()
    torch.testing.assert_close(result["loss"], ce + 2 * instance + 0.3 * group + 0.5 * supcon)


def test_detach_clean_spares_the_clean_view(views):
    clean, noisy = views
    loss_of(gamma1=1, gamma2=1, detach_clean=True)(output(2), LABELS, clean, noisy)["loss"].backward()
    assert clean.features.grad is None
    assert noisy.features.grad.abs().max() > 0


def test_terms_without_weight_are_not_computed(views, monkeypatch):
    for name in ("contrastive_loss", "group_contrastive_loss", "supervised_contrastive_loss"):
        monkeypatch.setattr(losses, name, None)
    result = loss_of()(views[0], LABELS, *views)
    torch.testing.assert_close(result["loss"], F.cross_entropy(views[0].logits, LABELS))
    assert result["loss_instance"] == result["loss_group"] == result["loss_supcon"] == 0


def test_cross_entropy_alone_before_the_threshold(views):
    loss = loss_of(gamma1=1, supcon_weight=1, sup_thresh=2)
    assert [loss.needs_views(epoch) for epoch in range(4)] == [False, False, True, True]
    early = loss(views[0], LABELS, epoch=1)
    assert torch.equal(early["loss"], early["loss_ce"])
    late = loss(views[0], LABELS, *views, epoch=2)
    assert late["loss_instance"] > 0
    assert late["loss_supcon"] > 0
    with pytest.raises(ValueError, match="epoch 2 contrasts views"):
        loss(views[0], LABELS, epoch=2)


def test_views_of_other_clips_bring_their_labels(views):
    loss = loss_of(gamma2=1)
    supervised, view_labels = output(3, clips=2), torch.tensor([1, 1, 0, 2, 1])
    result = loss(supervised, torch.tensor([0, 1]), *views, view_labels=view_labels)
    expected = group_contrastive_loss(views[0].features, views[1].features, view_labels, 3)
    torch.testing.assert_close(result["loss_group"], expected.detach())
    with pytest.raises(ValueError, match=r"labels must be \[5\]"):
        loss(supervised, torch.tensor([0, 1]), *views)


UNKNOWN = torch.tensor([0, -1, 2, -1, 0])


def partial_loss(**settings):
    return PoseLoss(LossConfig(**{"gamma1": 0.0, "gamma2": 0.0, **settings}), partial=True)


def test_clips_without_a_label_are_no_part_of_the_cross_entropy(views):
    known = UNKNOWN >= 0
    result = partial_loss(label_smoothing=0.1)(views[0], UNKNOWN)
    expected = F.cross_entropy(views[0].logits[known], UNKNOWN[known], label_smoothing=0.1)
    torch.testing.assert_close(result["loss"], expected)
    result["loss"].backward()
    assert (views[0].logits.grad[~known] == 0).all()
    none = partial_loss()(output(4), torch.full((5,), -1))["loss"]
    none.backward()
    assert none == 0


def test_sure_answers_count_as_labels(views):
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0.5, 0], [0, 9, 0]])
    loss = partial_loss(pseudo_threshold=0.9)
    guessed = loss.guess(logits, UNKNOWN)
    assert guessed.tolist() == [0, 1, 2, -1, 0]  # a label that is known stays, whatever the model says
    result = loss(views[0], UNKNOWN, guessed=guessed)["loss"]
    each = F.cross_entropy(views[0].logits, guessed.clamp_min(0), reduction="none")
    torch.testing.assert_close(result, each[[0, 2, 4]].mean() + each[1] / 2)


def test_clips_without_a_label_are_no_part_of_the_groups(views):
    known = UNKNOWN >= 0
    result = partial_loss(gamma2=1.0, temperature=0.5, symmetric=True)(views[0], UNKNOWN, *views)
    o, n = (view.features[known] for view in views)
    expected = group_contrastive_loss(o, n, UNKNOWN[known], 3, temperature=0.5, symmetric=True)
    torch.testing.assert_close(result["loss_group"], expected.detach())


def test_views_of_a_clip_without_a_label_have_each_other_alone(views):
    result = partial_loss(supcon_weight=1.0)(views[0], UNKNOWN, *views)
    alone = torch.tensor([0, 7, 2, 8, 0])
    z = torch.cat([view.features for view in views])
    torch.testing.assert_close(
        result["loss_supcon"], supervised_contrastive_loss(z, alone.repeat(2), 0.1).detach()
    )


def test_weights_of_classes(views):
    labels = np.array([0, 0, 0, 0, 2])
    for rule, ratio in (("balanced", 4.0), ("sqrt", 2.0)):
        weights = class_weights(labels, 3, rule)
        assert weights[2] / weights[0] == pytest.approx(ratio)
        assert weights[labels].mean() == pytest.approx(1.0)
        assert weights[1] == 0
    assert class_weights(labels, 3, "none") is None
    weights = torch.tensor([0.5, 2.0, 3.0])
    result = PoseLoss(LossConfig(gamma1=0.0, gamma2=0.0), class_weights=weights)(views[0], LABELS)["loss"]
    each = F.cross_entropy(views[0].logits, LABELS, reduction="none")
    torch.testing.assert_close(result, (weights[LABELS] * each).mean())


def test_half_precision_outputs(views):
    clean, noisy = (ModelOutput(v.logits.bfloat16(), v.features.bfloat16()) for v in views)
    result = loss_of(gamma1=1, gamma2=1, supcon_weight=1)(clean, LABELS, clean, noisy)
    assert {value.dtype for value in result.values()} == {torch.float32}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_precision_is_for_gpus(monkeypatch, device):
    passed = {}
    for name in ("contrastive_loss", "group_contrastive_loss", "supervised_contrastive_loss"):
        monkeypatch.setattr(
            losses, name, lambda x, *_, name=name, precision="auto", **__: passed.update({name: precision}) or x.sum()
        )  # fmt: skip
    with FakeTensorMode():  # shapes and devices alone
        views = [ModelOutput(torch.ones(5, 3, device=device), torch.ones(5, 6, device=device)) for _ in "on"]
        loss = loss_of(gamma1=1, gamma2=1, supcon_weight=1, contrast_precision="tf32")
        loss(views[0], torch.zeros(5, dtype=torch.int64, device=device), *views)
    of_pairs = "tf32" if device == "cuda" else "auto"
    assert passed == {
        "contrastive_loss": of_pairs,
        "group_contrastive_loss": "auto",
        "supervised_contrastive_loss": of_pairs,
    }


def test_contrast_follows_the_precision_of_training():
    for dtype, setting, expected in (
        (torch.bfloat16, "auto", "bf16"),
        (torch.float32, "auto", "auto"),
        (torch.bfloat16, "fp32", "fp32"),
    ):
        task = PoseTask(RunConfig(loss=LossConfig(contrast_precision=setting)), dtype)
        assert task.loss.product_precision == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma1": -1.0}, "gamma1 = -1.0: expected a weight ≥ 0"),
        ({"pseudo_threshold": 0.0}, "pseudo_threshold = 0.0: expected 0 < probability ≤ 1"),
        ({"pseudo_after": -1}, "pseudo_after = -1: expected 0 or more epochs"),
        ({"class_weights": "equal"}, "class_weights = 'equal': expected one of none, sqrt, balanced"),
        ({"supcon_weight": float("nan")}, "supcon_weight = nan: expected a weight ≥ 0"),
        ({"temperature": 0.0}, "temperature = 0.0: expected a number > 0"),
        ({"label_smoothing": 1.0}, "label_smoothing = 1.0: expected 0 ≤ smoothing < 1"),
        ({"representation": "logit"}, "representation = 'logit': expected one of features, logits, softmax"),
        ({"group_labels": "none"}, "group_labels = 'none': expected one of true, pseudo"),
        (
            {"contrast_precision": "fp16"},
            "contrast_precision = 'fp16': expected one of auto, bf16, tf32, fp32",
        ),
        ({"sup_thresh": -1}, "sup_thresh = -1: expected 0 or more epochs"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        loss_of(**settings)
