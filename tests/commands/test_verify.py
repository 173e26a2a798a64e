"""`fastpose verify`: a line for each file, and a status that tells damage."""

import pytest
import torch
from support.clips import waving_clips
from support.prediction import write_run

from fastpose import verify
from fastpose.data import PackedClips
from fastpose.data.denoising.denoiser import Denoiser
from fastpose.settings.files import to_json
from fastpose.training.checkpoint import save_checkpoint
from fastpose.weights import load_model
from fastpose.weights.named import locate


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A pack, a prior, and a run with its settings."""
    monkeypatch.chdir(tmp_path)
    packed = waving_clips()
    packed.save("clips.safetensors")
    Denoiser.fit(packed).save("prior.safetensors")
    run = write_run(tmp_path / "runs" / "one")
    (run / "config.json").write_text(to_json(load_model(run)[1].config))
    (run / "environment.json").write_text("{}")
    (run / "robustness.csv").write_text(
        "run,alpha,top1_percent,top5_percent,mean_class_percent,num_clips\none,0,50,100,50,8\n"
    )
    save_checkpoint(run, {"epochs_done": 3, "model": {"weight": torch.arange(1000.0)}, "optimizer": {}})
    return tmp_path


def lines_of(capsys, *files):
    status = verify.main([str(file) for file in files])
    return status, capsys.readouterr().out.splitlines()


def test_all_that_is_whole(folder, capsys):
    assert lines_of(capsys, "clips.safetensors", "prior.safetensors", "runs", "penn-robust") == (
        0,
        [
            "clips.safetensors: whole: packed clips, all checksums right",
            "prior.safetensors: whole: prior of body motion, all checksums right",
            "runs/one/checkpoint.pt: whole: checkpoint after 3 epochs, all checksums right",
            "runs/one/config.json: whole: settings",
            "runs/one/environment.json: whole: what a run depended on",
            "runs/one/model.safetensors: whole: weights, all checksums right",
            "runs/one/robustness.csv: whole: accuracy over noise, 1 runs",
            f"{locate('penn-robust')}: whole: weights, {verify.WITHOUT_CHECKSUMS}",
        ],
    )


@pytest.mark.parametrize("file", ["clips.safetensors", "prior.safetensors", "runs/one/model.safetensors"])
def test_a_wrong_bit_anywhere_is_found(folder, capsys, file):
    content = bytearray((folder / file).read_bytes())
    for place in range(40, len(content), max(1, len(content) // 23)):
        content[place] ^= 16
        (folder / file).write_bytes(content)
        status, (line,) = lines_of(capsys, file)
        content[place] ^= 16
        assert status == 1
        assert line.startswith(f"{file}: ")
        assert not line.startswith(f"{file}: whole"), place


def test_a_wrong_number_in_a_checkpoint_is_found(folder, capsys):
    """Its archive has bytes beside them that only fill up."""
    path = folder / "runs/one/checkpoint.pt"
    content = path.read_bytes()
    number = torch.tensor(321.0).numpy().tobytes()
    path.write_bytes(content.replace(number, torch.tensor(322.0).numpy().tobytes(), 1))
    assert lines_of(capsys, path)[0] == 1
    path.write_bytes(content[:-100])
    assert lines_of(capsys, path)[0] == 1
    path.write_bytes(content)
    assert lines_of(capsys, path)[0] == 0


def test_damaged_weights_and_priors_are_refused_at_opening(folder):
    for file, load in (("runs/one/model.safetensors", load_model), ("prior.safetensors", Denoiser.load)):
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(
            ValueError, match=f"{file}: damaged file: the contents of .* are not those that were written"
        ):
            load(file)


def test_a_header_that_was_changed_is_refused_at_opening(folder):
    for file, old, load in (
        ("clips.safetensors", b'"source":"', PackedClips.load),
        ("runs/one/model.safetensors", b"run, f", load_model),
    ):
        content = (folder / file).read_bytes()
        at = content.index(old) + len(old)
        (folder / file).write_bytes(content[:at] + b"X" + content[at + 1 :])
        with pytest.raises(ValueError, match=f"{file}: damaged file: the checksum of its header"):
            load(file)


def test_what_cannot_be_verified(folder, capsys):
    (folder / "notes.txt").write_text("nothing")
    (folder / "runs/one/config.json").write_text("{")
    (folder / "empty").mkdir()
    status, lines = lines_of(capsys, "notes.txt", "absent.safetensors", "runs/one/config.json")
    assert status == 1
    assert lines[0].startswith("notes.txt: cannot be verified; expected a file that ends in .safetensors, ")
    assert lines[1] == "absent.safetensors: no such file"
    assert lines[2].startswith("runs/one/config.json: not a JSON file")
    for files, said in ((["empty"], "empty: holds no file that can be verified"), ([], "no file is named")):
        assert verify.main(files) == 2
        assert said in capsys.readouterr().err
