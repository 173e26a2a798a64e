import json
import subprocess
import sys

import pytest
from support.clips import waving_clips

from fastpose import train
from fastpose.settings.files import from_preset, to_json
from fastpose.settings.presets import PRESETS


def test_bare_command_is_the_first_run():
    arguments = train.parse([])
    expected = from_preset("first-run")
    assert arguments.arms == ("supervised", "contrastive")
    assert arguments.data.data == "synthetic"
    assert (arguments.optim, arguments.loss) == (expected.optim, expected.loss)


def test_own_data_starts_from_the_robust_recipe(capsys):
    arguments = train.parse(["--data", "clips.safetensors"])
    robust = from_preset("robust")
    assert (arguments.optim, arguments.loss) == (robust.optim, robust.loss)
    assert arguments.data.sampling == robust.data.sampling
    assert arguments.arms == ("supervised", "augmented", "contrastive")
    report = train.parse(["--data", "clips.safetensors", "--preset", "report"])
    assert (report.optim, report.arms) == (from_preset("report").optim, ("contrastive",))
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "With --data the default is --preset robust, and its three arms" in told


def test_a_preset_gives_way_to_what_the_user_set(tmp_path):
    with pytest.warns(UserWarning, match="warmup_epochs = 2 of the preset leaves nothing of epochs = 1"):
        arguments = train.parse(["--data", "clips.safetensors", "--epochs=1"])
    assert (arguments.optim.epochs, arguments.optim.warmup_epochs) == (1, pytest.approx(0.1))
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"optim": {"epochs": 1}}))
    with pytest.warns(UserWarning, match="warmup_epochs = 2 of the preset"):
        arguments = train.parse(["--preset", "robust", "--config", str(path)])
    assert arguments.optim.warmup_epochs == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("more", "resumed"),
    [
        (["--out", "my runs"], "--out 'my runs' --resume"),
        (["--overwrite", "--out", "r"], "--out r --resume"),
        (["--out", "r", "--resume"], "--out r --resume"),
        ([], "--out runs/clips-dct_mlp-skeleton-1 --resume"),
    ],
)
def test_ctrl_c_tells_the_whole_command(more, resumed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fastpose"])
    waving_clips(12).save("clips.safetensors")
    if "--resume" in more:
        (tmp_path / "r" / "supervised-s0").mkdir(parents=True)

    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastpose.training.trainer.Trainer.fit", stop)
    command = ["--data", "clips.safetensors", "--model", "dct_mlp", "--arms", "supervised", *more]
    assert train.main(command) == 130
    told = capsys.readouterr().err.splitlines()
    assert told[-2] == "stopped; to go on from the last checkpoint:"
    kept = "fastpose train --data clips.safetensors --model dct_mlp --arms supervised"
    assert told[-1] == f"{kept} {resumed}"


def test_flags_override_the_file_which_overrides_the_preset(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"arm": "augmented", "optim": {"epochs": 7, "alpha": [0, 0.2]}}))
    arguments = train.parse(
        ["--preset", "robust", "--config", str(path), "--epochs", "9", "--size", "64", "48"]
    )
    assert arguments.arms == ("augmented",)
    assert (arguments.optim.epochs, arguments.optim.alpha) == (9, "0:0.2")
    assert arguments.optim.ema == from_preset("robust").optim.ema
    assert arguments.data.sampling.size == (64, 48)


def test_every_setting_is_a_flag(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    text = capsys.readouterr().out
    settings = json.loads(to_json(from_preset("report")))
    settings["data"] |= settings["data"].pop("sampling")
    for section in ("data", "model", "loss", "optim", "eval"):
        for name in settings[section]:
            assert "--" + name.replace("_", "-") in text


def test_an_unknown_flag_ends_the_command(capsys):
    with pytest.raises(SystemExit) as stop:
        train.parse(["--epoch", "3"])
    assert stop.value.code == 2
    assert "--epoch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "best"], "unknown preset 'best'; expected one of"),
        (["--data", "absent.safetensors"], "absent.safetensors"),
        (["--data", "{pack}", "--train-split", "xview_train"], "xview_train"),
        (["--data", "{pack}", "--val-clips", "5000"], "5000 clips cannot be held out"),
        (["--data", "{pack}", "--device", "cuda"], "no CUDA device"),
        (["--data", "{pack}", "--model", "resnet"], "unknown model 'resnet'; there are: posec3d"),
        (["--data", "{pack}", "--init", "absent.pth"], "absent.pth"),
        (["--data", "{pack}", "--init", "."], "holds no finished run (no model.safetensors in it or in"),
        (["--data", "{pack}", "--alpha", "lots"], "alpha = 'lots'"),
        (["--data", "{pack}", "--resume"], "--resume and --overwrite need --out"),
        (["--data", "{pack}", "--patience", "3"], "patience = 3: expected val_every > 0"),
        (["--data", "{pack}", "--val-every", "1"], "val_every = 1: expected val_clips > 0"),
        (["--config", "absent.json"], "absent.json: cannot be read"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    waving_clips(12).save(tmp_path / "pack.safetensors")
    try:
        code = train.main([argument.format(pack="pack.safetensors") for argument in arguments])
    except SystemExit as stop:  # where the flag's own reader refuses
        code = stop.code
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_an_existing_run_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    waving_clips(12).save("pack.safetensors")
    command = ["--data", "pack.safetensors", "--arms", "supervised", "--epochs", "1", "--out", "here"]
    command += ["--alphas", "0", "--size", "16", "16", "--clip-len", "8"]
    assert train.main(command) == 0
    before = (tmp_path / "here/supervised-s0/model.safetensors").read_bytes()
    capsys.readouterr()
    assert train.main(command) == 2
    assert "use --resume to go on, --overwrite to start anew" in capsys.readouterr().err
    assert (tmp_path / "here/supervised-s0/model.safetensors").read_bytes() == before
    assert train.main([*command, "--resume"]) == 0
    assert train.main([*command, "--overwrite"]) == 0


def test_first_run_on_built_in_data(tmp_path, monkeypatch, capsys):
    """The bare command, with fewer clips and epochs: data made, trained, compared, data kept for the next run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTPOSE_CACHE", str(tmp_path / "cache"))
    command = ["--limit", "24", "--epochs", "2", "--warmup-epochs", "0", "--alphas", "0", "0.1"]
    assert train.main(command) == 0
    out = capsys.readouterr().out
    assert "supervised-s0" in out
    assert "contrastive-0-0.1-s0" in out
    (made,) = (tmp_path / "cache").iterdir()
    written = made.stat().st_mtime_ns
    assert train.main(command) == 0
    assert made.stat().st_mtime_ns == written
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "synthetic-dct_mlp-skeleton-1",
        "synthetic-dct_mlp-skeleton-2",
    }


def test_fine_tuning_replaces_the_head(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    waving_clips(12).save("three.safetensors")
    waving_clips(12, num_classes=2).save("two.safetensors")
    common = [
        "--arms",
        "supervised",
        "--epochs",
        "1",
        "--alphas",
        "0",
        "--size",
        "16",
        "16",
        "--clip-len",
        "8",
    ]
    assert train.main(["--data", "three.safetensors", "--out", "a", *common]) == 0
    run = "a/supervised-s0"
    assert train.main(["--data", "two.safetensors", "--out", "b", "--init", run, *common]) == 0
    assert f"{run}/model.safetensors: " in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_accepted_by_name(name):
    assert train.parse(["--preset", name]).optim == from_preset(name).optim


def test_importing_is_quick_and_touches_nothing():
    code = (
        "import sys, fastpose, fastpose.data, fastpose.models, fastpose.ops; "
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib', 'fastpose._C') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
