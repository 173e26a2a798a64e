import pytest
import torch

from fastpose.robustness import curve_of
from fastpose.scoring import ClipScores, fuse_scores

LABELS = torch.tensor([0, 1, 1])
A = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
B = torch.tensor([[0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])


def scores(*levels, labels=LABELS, alphas=(0.0, 0.1)):
    return ClipScores(labels, dict(zip(alphas, levels, strict=True)))


def test_fusion_by_hand():
    fused = fuse_scores([scores(A, B), scores(B, B)])
    torch.testing.assert_close(fused.by_alpha[0.0], (A + B) / 2)
    torch.testing.assert_close(fused.by_alpha[0.1], B)
    assert curve_of(fused)[0.0].top1_percent == pytest.approx(100 / 3)  # [.35 .65], [.6 .4], [.35 .65]
    fused = fuse_scores([scores(A, A), scores(B, B)], [3, 1])
    torch.testing.assert_close(fused.by_alpha[0.1], 0.75 * A + 0.25 * B)
    assert torch.equal(fused.labels, LABELS)


def test_scores_that_are_no_numbers_count_as_wrong():
    broken = A.clone()
    broken[2] = torch.nan
    fused = fuse_scores([scores(broken, A), scores(B, B)])
    assert curve_of(fused)[0.0].top1_percent == 0
    assert curve_of(fuse_scores([scores(broken, A), scores(B, B)], [0, 1]))[0.0].num_clips == 3


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ([scores(A, B)], None, "two or more models, got 1"),
        ([scores(A, B)] * 2, [1], "1 fusion weights for 2 models"),
        ([scores(A, B)] * 2, [1, -1], "must be numbers ≥ 0, not all 0"),
        ([scores(A, B), scores(A, B, alphas=(0.0, 0.2))], None, r"levels differ .* \[0.0, 0.1\] and \[0.0, 0.2\]"),
        ([scores(A, B), scores(A, B, labels=LABELS.flip(0))], None, "not scored on the same clips"),
        ([scores(A, B), scores(A[:2], B[:2], labels=LABELS[:2])], None, "not scored on the same clips"),
        ([scores(A, B), scores(torch.rand(3, 5), torch.rand(3, 5))], None, r"numbers of classes apart: \[2, 5\]"),
    ],
)  # fmt: skip
def test_members_that_do_not_match(members, weights, message):
    with pytest.raises(ValueError, match=message):
        fuse_scores(members, weights)
