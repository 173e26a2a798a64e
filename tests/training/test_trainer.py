import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import waving_clips
from support.training import TIMES, TINY, rows_of

from fastpose.data.sampling.order import epoch_order
from fastpose.models.shared_statistics import running_statistics
from fastpose.settings import EvalConfig, LossConfig, ModelConfig
from fastpose.settings.files import to_json
from fastpose.system.processes import Processes
from fastpose.training import trainer
from fastpose.training.checkpoint import CHECKPOINT, read_checkpoint
from fastpose.training.experiment import plan_runs, run_experiment
from fastpose.training.run_folder import check_folder
from fastpose.training.setup import Setup
from fastpose.training.trainer import Trainer
from fastpose.weights.runs import WEIGHTS, load_model, write_weights

BF16_JOINT = replace(TINY.optim, precision="bf16", joint_pass=True)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    packed = waving_clips()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    Trainer(Setup(TINY, packed), whole, quiet=True).fit()
    often = replace(TINY, optim=replace(TINY.optim, checkpoint_minutes=0.0))
    interrupted = Trainer(Setup(often, packed), parts, quiet=True)
    train_epoch = interrupted._train_epoch

    def stop_in_last(epoch, *args):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(epoch, *args)

    interrupted._train_epoch = stop_in_last
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit()
    assert not (parts / WEIGHTS).exists()
    Trainer(Setup(TINY, packed), parts, quiet=True).fit(resume=True)
    for one, two in zip(rows_of(whole / "metrics.csv"), rows_of(parts / "metrics.csv"), strict=True):
        assert {k: v for k, v in one.items() if k not in TIMES} == {
            k: v for k, v in two.items() if k not in TIMES
        }
    first, second = load_model(whole)[0].state_dict(), load_model(parts)[0].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_checkpoints_of_others_are_refused(tmp_path):
    """Whatever torch loads, --resume says in one sentence why it cannot go on from it."""
    trainer = Trainer(Setup(TINY, waving_clips(12)), tmp_path, quiet=True)
    trainer._save(1)
    own = read_checkpoint(tmp_path)
    foreign = {
        "it holds state_dict, meta": {"state_dict": own["model"], "meta": {}},
        "it holds Tensor": torch.zeros(3),
        "it holds nothing": {},
        "weights or optimiser state do not fit": own | {"model": {"fc.weight": torch.zeros(2, 2)}},
        "optimiser state do not fit this": own | {"optimizer": {}},
        "do not fit this one": {key: value for key, value in own.items() if key != "average"},
        "after 4 epochs where this one has 3": own | {"epochs_done": 4},
        "after nan epochs": own | {"epochs_done": float("nan")},
    }
    for message, state in foreign.items():
        torch.save(state, tmp_path / CHECKPOINT)
        with pytest.raises(ValueError, match=message) as caught:
            trainer.fit(resume=True)
        assert CHECKPOINT in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arm", ["supervised", "augmented", "contrastive"])
@pytest.mark.parametrize("joint_pass", [False, True])
def test_every_arm_trains(arm, joint_pass, tmp_path):
    optim = replace(TINY.optim, joint_pass=joint_pass, epochs=15, batch_size=16)
    config = replace(TINY, arm=arm, model=ModelConfig(dropout=0.0), optim=optim)
    trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
    before = {name: value.clone() for name, value in trainer.setup.model.state_dict().items()}
    trainer.fit()
    rows = rows_of(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(15)]
    assert float(rows[-1]["loss_ce"]) < 0.7 * float(rows[0]["loss_ce"])
    assert not torch.equal(
        before["cls_head.fc_cls.weight"], trainer.setup.model.state_dict()["cls_head.fc_cls.weight"]
    )
    assert (float(rows[0]["loss_instance"]) > 0) == (arm == "contrastive")


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, optim=replace(TINY.optim, share_clean=False)),
        replace(TINY, loss=LossConfig(supcon_weight=0.5, ce_views="both", group_labels="pseudo")),
        replace(TINY, loss=LossConfig(representation="softmax", symmetric=True, detach_clean=True)),
        replace(TINY, model=ModelConfig(input="grayscale", joint_merge="max")),
        replace(TINY, model=ModelConfig(input="heatmap"), optim=replace(TINY.optim, precision="bf16")),
        replace(TINY, model=ModelConfig(model="X3D-shallow", input="limb")),
        replace(TINY, model=ModelConfig(model="c3d_light", input="limb"), optim=BF16_JOINT),
        replace(TINY, loss=LossConfig(sup_thresh=5)),
        replace(TINY, optim=replace(TINY.optim, micro_batch=2, checkpoint_activations=True)),
    ],
    ids=[
        "own anchor",
        "supcon",
        "reference",
        "grayscale",
        "heatmap bf16",
        "limb",
        "limb bf16 joint",
        "supervised phase",
        "micro-batches recomputed",
    ],
)
def test_knobs_run_for_an_epoch(config, tmp_path):
    config = replace(config, optim=replace(config.optim, epochs=1))
    trainer = Trainer(Setup(config, waving_clips(12)), tmp_path, quiet=True)
    trainer.fit()
    assert np.isfinite(float(rows_of(tmp_path / "metrics.csv")[0]["loss"]))
    curve = trainer.measure()
    assert set(curve) == {0.0, 0.1}


def test_weights_reload_to_the_same_scores(tmp_path):
    trainer = Trainer(Setup(TINY, waving_clips()), tmp_path, quiet=True)
    trainer.fit()
    model, card = load_model(tmp_path)
    x = torch.randn(2, model.in_channels, 8, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, trainer.setup.trained_model.eval()(x).logits)
    assert card.config == TINY
    assert card.class_names == ("speed 0", "speed 1", "speed 2")
    written = (tmp_path / WEIGHTS).read_bytes()
    write_weights(tmp_path / WEIGHTS, model.state_dict(), card)
    assert (tmp_path / WEIGHTS).read_bytes() == written


def test_experiment_writes_everything_and_refuses_to_overwrite(tmp_path, capsys):
    packed = waving_clips()
    base = replace(TINY, optim=replace(TINY.optim, epochs=1))
    plan = plan_runs(base, ["supervised", "augmented"], [0, 1])
    run_experiment(packed, plan, tmp_path)
    assert set(plan) == {"supervised-s0", "supervised-s1", "augmented-0-0.05-s0", "augmented-0-0.05-s1"}
    for name, config in plan.items():
        folder = tmp_path / name
        files = {path.name for path in folder.iterdir()}
        expected = {"config.json", "environment.json", "metrics.csv", WEIGHTS, CHECKPOINT}
        assert expected | {"robustness.csv", "robustness.png"} <= files
        assert json.loads((folder / "config.json").read_text())["seed"] == config.seed
        environment = json.loads((folder / "environment.json").read_text())
        assert environment["placement"] == "float32 on cpu"
    assert len(rows_of(tmp_path / "robustness.csv")) == 4 * 2
    text = capsys.readouterr().out
    assert "mean ± spread" in text
    assert "sampling error" in text
    with pytest.raises(ValueError, match=r"supervised-s0 exists; use --resume"):
        run_experiment(packed, plan, tmp_path)
    other = plan_runs(replace(base, optim=replace(base.optim, lr=0.5)), ["supervised"], [0])
    with pytest.raises(ValueError, match=r"settings differ in optim\.lr \(0.001 there\)"):
        run_experiment(packed, other, tmp_path, resume=True)
    (tmp_path / "supervised-s0" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"supervised-s0/config\.json: not a JSON file"):
        run_experiment(packed, plan, tmp_path, resume=True)


def test_arms_trained_one_after_another_are_compared(tmp_path, capsys):
    packed = waving_clips(12)
    base = replace(TINY, optim=replace(TINY.optim, epochs=1), eval=EvalConfig(alphas=(0.0, 0.1)))
    run_experiment(packed, plan_runs(base, ["supervised"], [1]), tmp_path)
    alone = (tmp_path / "supervised-s1" / "robustness.csv").read_text()
    for name, content in {"evaluation": alone, "damaged": "run,alpha\nx,lots\n", "empty": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "robustness.csv").write_text(content)
        if name != "evaluation":
            (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.json").write_text("{}")
    other = replace(base, eval=EvalConfig(alphas=(0.1, 0.3)))
    curves = run_experiment(packed, plan_runs(other, ["supervised", "augmented"], [0]), tmp_path)
    assert list(curves) == ["supervised-s0", "augmented-0-0.05-s0"]
    rows = rows_of(tmp_path / "robustness.csv")
    assert [(row["run"], row["alpha"]) for row in rows] == [
        ("supervised-s1", "0"),
        ("supervised-s1", "0.1"),
        ("supervised-s0", "0.1"),
        ("supervised-s0", "0.3"),
        ("augmented-0-0.05-s0", "0.1"),
        ("augmented-0-0.05-s0", "0.3"),
    ]
    assert rows[:2] == rows_of(tmp_path / "supervised-s1" / "robustness.csv")
    assert rows[2:4] == rows_of(tmp_path / "supervised-s0" / "robustness.csv")
    text = capsys.readouterr().out
    assert text.count("left out of the comparison") == 2
    spread = text[text.rindex("mean ± spread") :].splitlines()
    assert spread[0].split()[-1] == "0.1"  # the noise level that both seeds have
    assert "±" in spread[1]


def test_settings_that_a_run_was_begun_without_are_their_defaults(tmp_path):
    written = json.loads(to_json(TINY))
    del written["data"]["sampling"]["min_box"], written["data"]["sampling"]["max_persons"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    check_folder(tmp_path, TINY, resume=True, overwrite=False)
    written["data"] |= written["data"].pop("sampling")  # where these settings stood before they had a section
    (tmp_path / "config.json").write_text(json.dumps(written))
    check_folder(tmp_path, TINY, resume=True, overwrite=False)
    other = replace(TINY, data=replace(TINY.data, sampling=replace(TINY.data.sampling, min_box=5.0)))
    with pytest.raises(ValueError, match=r"differ in data\.sampling\.min_box \(10\.0 there\)"):
        check_folder(tmp_path, other, resume=True, overwrite=False)


def test_settings_that_do_not_work_leave_no_folder(tmp_path):
    base = replace(TINY, model=replace(TINY.model, init=str(tmp_path / "absent.pth")))
    with pytest.raises(FileNotFoundError, match="absent"):
        run_experiment(waving_clips(), plan_runs(base, ["supervised"], [0]), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_persons_and_smallest_box_are_settings(tmp_path):
    config = replace(
        TINY, data=replace(TINY.data, sampling=replace(TINY.data.sampling, max_persons=3, min_box=1e4))
    )
    trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
    assert trainer.setup.model.in_channels == 3 * 17 * 2
    views = next(trainer.batches(0))
    assert {batch.keypoints.shape[1] for batch in views.values()} == {3}
    usual = Trainer(Setup(TINY, waving_clips()), tmp_path, quiet=True)
    expected = next(usual.batches(0))["clean"].keypoints[:, 0, ..., :2]
    assert not torch.allclose(views["clean"].keypoints[:, 0, ..., :2], expected)
    trainer.measure()


@pytest.mark.parametrize("arm", ["supervised", "contrastive"])
def test_divergence_is_an_error(tmp_path, arm):
    config = replace(TINY, arm=arm, optim=replace(TINY.optim, lr=1e30, ema=0.0))
    with pytest.raises(ValueError, match="epoch 0.*: training diverged; try a smaller --lr"):
        Trainer(Setup(config, waving_clips()), tmp_path, quiet=True).fit()


def test_the_head_has_a_learning_rate_of_its_own(tmp_path):
    optim = replace(TINY.optim, lr=1e-3, head_lr=1e-1, weight_decay=0.0, ema=0.0)
    trainer = Trainer(Setup(replace(TINY, optim=optim), waving_clips()), tmp_path, quiet=True)
    before = {name: value.detach().clone() for name, value in trainer.setup.model.named_parameters()}
    trainer.setup.step(next(trainer.batches(0)), epoch=0, rate=5e-4)
    moved = {
        name: float((value.detach() - before[name]).abs().max())
        for name, value in trainer.setup.model.named_parameters()
    }
    head = {name for name in moved if name.startswith("cls_head.")}
    assert max(moved[name] for name in head) == pytest.approx(5e-2, rel=0.01)  # AdamW's first step
    assert max(moved[name] for name in moved.keys() - head) == pytest.approx(5e-4, rel=0.01)


def test_peak_memory_is_that_of_all_epochs(tmp_path, monkeypatch):
    """Steps that are replayed as CUDA graphs allocate nothing: only those before them show what a step takes."""
    peak = [0]
    monkeypatch.setattr("fastpose.training.trainer.begin_peak", lambda device: peak.__setitem__(0, 0))
    monkeypatch.setattr("fastpose.training.trainer.peak_memory", lambda device: peak[0])
    trainer = Trainer(Setup(TINY, waving_clips()), tmp_path, quiet=True)
    launch = trainer.setup.step._take

    def replay_after_the_first_epoch(batches, epoch):
        if epoch == 0:
            peak[0] = 3 * 2**20
        return launch(batches, epoch)

    trainer.setup.step._take = replay_after_the_first_epoch
    trainer.fit()
    assert [row["peak_memory_mb"] for row in rows_of(tmp_path / "metrics.csv")] == ["3"] * 3


def test_order_is_a_function_of_seed_and_epoch():
    indices = np.arange(5, 60)
    orders = {(s, e): tuple(epoch_order(indices, s, e)) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert all(sorted(order) == list(indices) for order in orders.values())
    assert orders[1, 2] == tuple(epoch_order(indices, 1, 2))


def test_the_moving_average_forgets_the_start_and_takes_over_statistics(tmp_path):
    config = replace(TINY, arm="supervised", optim=replace(TINY.optim, ema=0.999, epochs=20))
    trainer = Trainer(Setup(config, waving_clips()), tmp_path, quiet=True)
    start = trainer.setup.model.cls_head.fc_cls.weight.detach().clone()
    trainer.fit()
    raw, average = trainer.setup.model.state_dict(), trainer.setup.trained_model.state_dict()
    assert torch.equal(raw["backbone.conv1.bn.running_var"], average["backbone.conv1.bn.running_var"])
    raw, average = (weights["cls_head.fc_cls.weight"] for weights in (raw, average))
    assert 0 < (average - raw).norm() < 0.5 * (raw - start).norm()


def test_of_several_processes_the_moving_average_takes_their_mean_statistics(tmp_path, monkeypatch):
    """Whatever those were of which it was restored: each process's own, or those of the first."""
    setup = Setup(replace(TINY, arm="supervised"), waving_clips())

    def mean_of_all(model, processes):
        for statistic in running_statistics(model).values():
            statistic.fill_(7)

    monkeypatch.setattr(trainer, "average_statistics", mean_of_all)
    Trainer(setup, tmp_path, quiet=True).fit()
    assert all((value == 7).all() for value in running_statistics(setup.trained_model).values())


@pytest.mark.parametrize(("size", "here", "there"), [(1, True, False), (2, True, False), (2, False, True)])
def test_told_to_end_all_stop_measuring(size, here, there, tmp_path, monkeypatch):
    """Also those that are through, before they wait for the counts of the others."""
    asked = []

    def add(processes, *tensors):
        asked.append(len(tensors))
        if processes.size > 1:
            tensors[0].add_(there)

    monkeypatch.setattr(Processes, "add", add)
    told = threading.Event()
    if here:
        told.set()
    setup = Setup(TINY, waving_clips(), Processes(rank=0, size=size))
    with pytest.raises(KeyboardInterrupt):
        Trainer(setup, tmp_path, quiet=True, told_to_end=told).measure()
    assert asked == [1]


def test_fine_tuning_keeps_the_backbone_and_starts_a_new_head(tmp_path):
    trainer = Trainer(Setup(replace(TINY, arm="supervised"), waving_clips()), tmp_path, quiet=True)
    trainer.fit()
    model = replace(TINY.model, init=str(tmp_path / WEIGHTS))
    tuned = Trainer(
        Setup(replace(TINY, model=model), waving_clips()), tmp_path, quiet=True
    ).setup.model.state_dict()
    trained = trainer.setup.trained_model.state_dict()
    assert torch.equal(tuned["backbone.conv1.conv.weight"], trained["backbone.conv1.conv.weight"])
    assert not torch.equal(tuned["cls_head.fc_cls.weight"], trained["cls_head.fc_cls.weight"])
