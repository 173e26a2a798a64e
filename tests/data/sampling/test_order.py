import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data.sampling.order import epoch_batches


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
