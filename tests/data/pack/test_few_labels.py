"""Which clips keep their labels: as many as asked for, of every class, fewer among more."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data.pack.few_labels import labelled_clips
from fastpose.settings import DataConfig


def pack_of(labels):
    labels = np.asarray(labels)
    classes = int(labels.max()) + 1
    return SimpleNamespace(
        labels=labels, num_classes=classes, class_names=[f"class {k}" for k in range(classes)]
    )


SIZES = st.lists(st.integers(12, 60), min_size=2, max_size=6)


@given(SIZES, st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.5]))
def test_a_share_of_every_class_whose_smaller_shares_are_within_it(sizes, seed, fraction):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    packed, train = pack_of(labels), np.arange(len(labels))
    kept = labelled_clips(packed, train, DataConfig(label_fraction=fraction), seed)
    assert kept.sum() == round(fraction * len(labels))
    shares = np.bincount(labels[kept], minlength=len(sizes)) / np.array(sizes)
    assert (np.abs(shares - fraction) * sizes < 1.5).all()
    more = labelled_clips(packed, train, DataConfig(label_fraction=min(2 * fraction, 0.9)), seed)
    by_class = [np.flatnonzero(kept & (labels == k)) for k in range(len(sizes))]
    assert all(more[clips].all() for clips in by_class)
    of_draw = DataConfig(label_fraction=fraction, label_seed=seed)
    assert (labelled_clips(packed, train, of_draw, seed + 1) == kept).all()


@given(SIZES, st.integers(1, 12))
def test_a_number_of_each_class(sizes, count):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    kept = labelled_clips(pack_of(labels), np.arange(len(labels)), DataConfig(labels_per_class=count), 3)
    assert np.bincount(labels[kept]).tolist() == [count] * len(sizes)


def test_only_training_clips_are_counted():
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 1])
    train = np.array([0, 2, 3, 4])
    kept = labelled_clips(pack_of(labels), train, DataConfig(label_fraction=0.5), 0)
    assert np.bincount(labels[train[kept]]).tolist() == [1, 1]


def test_draws_differ():
    packed, train = pack_of(np.repeat([0, 1], 50)), np.arange(100)
    draws = {
        labelled_clips(packed, train, DataConfig(label_fraction=0.1), seed).tobytes() for seed in range(4)
    }
    assert len(draws) == 4


def test_a_class_that_would_have_no_label():
    packed = pack_of(np.repeat([0, 1, 2], [300, 20, 30]))
    message = (
        r"^label_fraction = 0.01: class 'class 1' of 20 training clips and 1 more would have no label; expected at "
        r"least 0.05, or labels_per_class = 1$"
    )
    with pytest.raises(ValueError, match=message):
        labelled_clips(packed, np.arange(350), DataConfig(label_fraction=0.01), 0)
    kept = labelled_clips(packed, np.arange(350), DataConfig(label_fraction=0.05), 0)
    assert np.bincount(packed.labels[kept]).tolist() == [15, 1, 2]


def test_a_class_smaller_than_asked_for():
    packed = pack_of(np.repeat([0, 1], [9, 4]))
    with pytest.warns(UserWarning, match=r"labels_per_class = 6: all labels .* are used: 'class 1' \(4\)"):
        kept = labelled_clips(packed, np.arange(13), DataConfig(labels_per_class=6), 0)
    assert np.bincount(packed.labels[kept]).tolist() == [6, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_fraction": 0.0}, "label_fraction = 0.0: expected 0 < share ≤ 1"),
        ({"label_fraction": 1.5}, "label_fraction = 1.5: expected 0 < share ≤ 1"),
        ({"labels_per_class": 0}, "labels_per_class = 0: expected at least 1"),
        ({"label_fraction": 0.1, "labels_per_class": 2}, "labels_per_class = 2: expected one of them"),
        ({"label_seed": -1}, "label_seed = -1: expected a seed"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)
