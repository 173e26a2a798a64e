import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data.sampling.order import TrainingOrder, epoch_batches, epoch_order


@given(num_clips=st.integers(1, 200), batch_size=st.integers(1, 70))
def test_batches_hold_every_clip_once_and_none_alone(num_clips, batch_size):
    parts = epoch_batches(num_clips, batch_size)
    order = np.arange(num_clips)
    assert np.concatenate([order[part] for part in parts]).tolist() == order.tolist()
    sizes = [len(order[part]) for part in parts]
    assert set(sizes[:-1]) <= {batch_size}
    if num_clips > 1 and batch_size > 1:
        assert 2 <= sizes[-1] <= batch_size + 1
        assert len(parts) == -(-num_clips // batch_size) - (
            num_clips % batch_size == 1 and num_clips > batch_size
        )
    else:
        assert set(sizes) == {1}


def parts_of(order, epoch):
    drawn = order.epoch(epoch)
    assert len(drawn.clips) == len(drawn.passes) == len(order)
    return drawn, [(drawn.clips[part], drawn.passes[part]) for part in order.batches]


def test_with_all_labels_each_clip_comes_once():
    clips = np.arange(5, 45)
    drawn = TrainingOrder(clips, clips % 3, 8, 7).epoch(2)
    assert drawn.clips.tolist() == epoch_order(clips, 7, 2).tolist()
    assert not drawn.passes.any()


@given(
    num_clips=st.integers(4, 120),
    num_labelled=st.integers(1, 119),
    batch_size=st.integers(1, 40),
    share=st.floats(0.05, 0.9),
    balanced=st.booleans(),
)
def test_each_batch_has_its_share_of_labelled_clips(num_clips, num_labelled, batch_size, share, balanced):
    num_labelled = min(num_labelled, num_clips - 1)
    labels = np.where(np.arange(num_clips) < num_labelled, np.arange(num_clips) % 3, -1)
    clips = np.arange(num_clips) + 10
    order = TrainingOrder(clips, labels, batch_size, 1, labelled_share=share, balanced=balanced)
    drawn, batches = parts_of(order, 0)
    unlabelled = drawn.clips[drawn.clips >= 10 + num_labelled]
    assert sorted(unlabelled.tolist()) == clips[num_labelled:].tolist()  # each once
    keys = list(zip(drawn.clips.tolist(), drawn.passes.tolist(), strict=True))
    assert len(set(keys)) == len(keys)  # a clip that comes again has another pass
    assert len(order) >= num_clips
    if len(order) == num_clips and not balanced:
        assert set(drawn.clips) == set(clips)
        return
    if not balanced:
        assert set(drawn.clips) == set(clips)
        counts = np.bincount(drawn.clips - 10)[:num_labelled]
        assert counts.max() - counts.min() <= 1
    wanted = min(max(round(share * batch_size), 1), num_labelled, batch_size - 1)
    for part, _ in batches:
        assert len(part) == batch_size or len(batches) == 1 or batch_size == 1
        assert (part < 10 + num_labelled).sum() >= wanted


@given(
    num_labelled=st.integers(2, 60),
    others=st.integers(1, 90),
    batch_size=st.integers(2, 32),
    share=st.floats(0.1, 0.9),
)
def test_labelled_clips_alone_take_as_many_steps(num_labelled, others, batch_size, share):
    labels = np.repeat([1, -1], [num_labelled, others])
    clips = np.arange(len(labels))
    mixed, alone = (
        TrainingOrder(clips, labels, batch_size, 0, labelled_share=share, labelled_alone=only)
        for only in (False, True)
    )
    assert alone.batches == mixed.batches
    counts = np.bincount(parts_of(alone, 3)[0].clips, minlength=len(clips))
    assert counts[num_labelled:].sum() == 0
    assert counts[:num_labelled].max() - counts[:num_labelled].min() <= 1


def test_classes_come_equally_often():
    labels = np.repeat([0, 1, 2], [40, 10, 4])
    order = TrainingOrder(np.arange(54), labels, 8, 3, balanced=True)
    met = np.zeros(54, int)
    for epoch in range(6):
        drawn = order.epoch(epoch)
        assert np.bincount(labels[drawn.clips]).tolist() == [18, 18, 18]
        met += np.bincount(drawn.clips, minlength=54)
        assert sorted(np.bincount(drawn.clips, minlength=54)[50:]) == [4, 4, 5, 5]
    assert (met[:40] > 0).mean() > 0.9  # of a large class, others come in each epoch
    firsts = [tuple(order.epoch(epoch).clips) for epoch in (0, 0, 1)]
    assert firsts[0] == firsts[1] != firsts[2]
