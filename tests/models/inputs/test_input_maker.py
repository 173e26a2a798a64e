import pytest
import torch
from support.clips import waving_clips

from fastpose.data import ClipSampler
from fastpose.models import create_model
from fastpose.models.inputs.input_maker import InputMaker, memory_format_for


def batches(count=2, size=(12, 10), batch_size=3):
    sampler = ClipSampler(waving_clips(), 5, size, train=True)
    return [sampler.batch(range(batch_size), stream=i, alpha=0.1) for i in range(count)]


def model_of(kind):
    drawn = {} if kind == "skeleton" else {"heatmaps": "explicit"}
    return create_model(
        "x3d_shallow", input=kind, num_classes=3, layout="coco17", max_persons=1, size=(12, 10), **drawn
    )


@pytest.mark.parametrize("kind", ["heatmap", "grayscale", "limb", "skeleton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stacked_inputs_in_the_fast_layout(kind, dtype):
    model, views = model_of(kind), batches()
    x = InputMaker(dtype).make(model, views)
    expected = torch.cat([model.prepare_input(view) for view in views])
    drawn = kind != "skeleton"
    assert x.dtype == (dtype if drawn else torch.float32)
    assert torch.equal(x, expected.to(x.dtype))
    last = drawn and dtype == torch.bfloat16
    assert memory_format_for(model, dtype) == (torch.channels_last_3d if last else torch.contiguous_format)
    assert not drawn or x.is_contiguous(memory_format=memory_format_for(model, dtype))


def test_memory_is_used_again_under_the_same_name():
    maker, model = InputMaker(torch.float32), model_of("heatmap")
    one, two = batches()
    first = maker.make(model, [one], "clean")
    other = maker.make(model, [two], "noisy")
    assert first.data_ptr() != other.data_ptr()
    again = maker.make(model, batches(1, batch_size=2), "clean")
    assert again.data_ptr() == first.data_ptr()
    assert again.shape[0] == 2
    assert torch.equal(other, model.prepare_input(two))


def test_another_model_gets_other_memory():
    maker = InputMaker(torch.float32)
    view = batches(1)
    assert maker.make(model_of("heatmap"), view).shape[1] == 17
    assert maker.make(model_of("grayscale"), view).shape[1] == 1


def test_released_memory_is_not_drawn_into_again():
    maker, model, views = InputMaker(torch.float32), model_of("heatmap"), batches()
    first = maker.make(model, views)
    assert maker.make(model, views).data_ptr() == first.data_ptr()
    maker.release()
    assert maker.make(model, views).data_ptr() != first.data_ptr()
