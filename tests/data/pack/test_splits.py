import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clips import waving_clips

from fastpose.data.pack.splits import neighbouring_holdout, select_clips, stratified_holdout
from fastpose.settings import DataConfig


@given(
    labels=st.lists(st.integers(0, 5), min_size=2, max_size=80),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 9),
    holdout=st.sampled_from([stratified_holdout, neighbouring_holdout]),
)
def test_holdout_is_exact_and_in_proportion(labels, share, seed, holdout):
    labels = np.array(labels)
    count = int(share * len(labels))
    mask = holdout(labels, count, seed)
    assert mask.sum() == count
    for label in np.unique(labels):
        exact = (labels == label).sum() * count / len(labels)
        assert abs(mask[labels == label].sum() - exact) < 1
        if holdout is neighbouring_holdout:  # one run of clips in each class
            assert np.abs(np.diff(mask[labels == label].astype(int))).sum() <= 2
            assert np.diff(np.flatnonzero(mask[labels == label])).max(initial=1) == 1
    np.testing.assert_array_equal(mask, holdout(labels, count, seed))


def test_held_out_clips_leave_the_training_split():
    packed = waving_clips(30)
    train, test = select_clips(packed, DataConfig())
    kept, held_out = select_clips(packed, DataConfig(val_clips=6, test_on="val"))
    assert len(held_out) == 6
    assert sorted([*kept, *held_out]) == sorted(train)
    assert not set(held_out) & set(test)
    assert np.bincount(packed.labels[held_out]).tolist() == [2, 2, 2]


def test_limit_keeps_every_class():
    packed = waving_clips(30)
    train, test = select_clips(packed, DataConfig(limit=6))
    assert len(train) == len(test) == 6
    assert set(packed.labels[train]) == {0, 1, 2}


def test_errors_name_the_splits_there_are():
    packed = waving_clips(6)
    with pytest.raises(ValueError, match="train"):
        select_clips(packed, DataConfig(train_split="xsub_train"))
    with pytest.raises(ValueError, match="cannot be held out"):
        select_clips(packed, DataConfig(val_clips=400))
    packed.splits.clear()
    with pytest.raises(ValueError, match="--train-split"):
        select_clips(packed, DataConfig())
