"""Weights on Hugging Face's hub, without a network: its cache as a folder, its service as a stand-in."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.prediction import moving_clip, write_run

import fastpose
from fastpose._command import load_command
from fastpose.prediction import Predictor
from fastpose.settings.files import from_preset
from fastpose.weights import load_card, push
from fastpose.weights.hub import HubAddress
from fastpose.weights.runs import WEIGHTS, find_runs, weights_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIVEN = {"layout": "coco17", "image_size": (480, 640)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "supervised-s0")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a hub out of reach."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "home" / "hub"


def keep(cache, repo, files, revision="main", commit=COMMIT):
    """Lay files into the cache as huggingface_hub does."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    for name, content in files.items():
        path = folder / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / revision).write_text(commit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://ada/poses", HubAddress("ada/poses")),
        ("hf://ada/poses@v1.0", HubAddress("ada/poses", "v1.0")),
        ("hf://ada/poses/small/a.safetensors", HubAddress("ada/poses", None, "small/a.safetensors")),
        ("hf://ada/poses@v1/a.safetensors", HubAddress("ada/poses", "v1", "a.safetensors")),
        ("runs/a", None),
        ("hf", None),
    ],
)
def test_addresses(text, expected):
    assert HubAddress.parse(text) == HubAddress.parse(Path(text)) == expected
    assert expected is None or str(expected) == text


@pytest.mark.parametrize("text", ["hf://", "hf://ada", "hf://ada/", "hf://ada/poses@", "hf://ada/po ses"])
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match=r"^hf://.*: expected hf://user/repo, hf://user/repo@revision or"):
        Predictor.load(text)


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "model.pkl", "model.safetensors.pt"])
def test_only_safetensors_are_loaded(name):
    with pytest.raises(ValueError, match=f"only .safetensors files are loaded from the hub, not {name}"):
        Predictor.load(f"hf://ada/poses/{name}")


def test_a_repository_is_a_run(run, cache):
    content = (run / WEIGHTS).read_bytes()
    keep(cache, "ada/poses", {WEIGHTS: content, "small/a.safetensors": content})
    keep(cache, "ada/poses", {WEIGHTS: content}, "v1", "f" * 40)
    expected = fastpose.predict(moving_clip(), model=run, precision="fp32", **GIVEN)
    for address in ("", "@v1", "@" + COMMIT, "/small/a.safetensors"):
        model = Predictor.load(f"hf://ada/poses{address}", precision="fp32")
        said = fastpose.predict(moving_clip(), model=model, **GIVEN)
        assert said.scores.tolist() == expected.scores.tolist()
    assert load_card("hf://ada/poses") == load_card(run)
    found = find_runs((Path("hf://ada/poses"), run))
    assert list(found) == ["ada/poses", run.name]
    assert found["ada/poses"].read_bytes() == content


def test_what_is_not_in_reach_is_one_sentence(run, cache):
    keep(cache, "ada/poses", {"README.md": b"poses"})
    keep(cache, "ada/pickled", {WEIGHTS: b"\x80\x04K\x01."})
    offline = "model.safetensors is not in the cache, and HF_HUB_OFFLINE is set"
    for address in ("hf://ada/none", "hf://ada/poses", "hf://ada/poses@v2"):
        with pytest.raises(ValueError) as found:
            Predictor.load(address)
        assert str(found.value) == f"{address}: {offline}"
    with pytest.raises(ValueError, match="is no weights file of fastpose"):
        Predictor.load("hf://ada/pickled")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("RepositoryNotFoundError", "no repository ada/poses, or a private one; log in with `hf auth login`"),
        ("RevisionNotFoundError", "ada/poses has no revision v1"),
        ("RemoteEntryNotFoundError", "ada/poses has no file model.safetensors"),
        ("GatedRepoError", "access must be granted by the repository's owner; log in with `hf auth login`"),
        ("HfHubHTTPError", "the hub's client failed (503 busy)"),
    ],
)
def test_refusals_of_the_hub_are_one_sentence(cache, monkeypatch, error, sentence):
    import huggingface_hub

    response = SimpleNamespace(headers={}, request=None)
    kind = getattr(huggingface_hub.errors, error)

    def refuse(*_, **__):
        raise kind("503 busy\nand much more", response=response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ValueError) as found:
        weights_file("hf://ada/poses@v1")
    assert str(found.value) == f"hf://ada/poses@v1: {sentence}"


def test_the_package_may_be_absent(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: Predictor.load("hf://ada/poses"), lambda: push(run, "hf://ada/poses")):
        with pytest.raises(ValueError, match=r"need the package huggingface_hub .*fastpose-action\[hub\]"):
            use()


def test_the_command_takes_an_address(run, cache, tmp_path):
    keep(cache, "ada/poses", {WEIGHTS: (run / WEIGHTS).read_bytes()})
    (tmp_path / "clip.json").write_text(
        f'{{"keypoints": {moving_clip().tolist()}, "image_size": [480, 640], "layout": "coco17"}}'
    )
    checkout = str(Path(fastpose.__file__).parents[1])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PYTHONPATH": checkout}
    command = [
        sys.executable,
        "-m",
        "fastpose",
        "predict",
        "hf://ada/poses",
        "clip.json",
        "--layout",
        "coco17",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "clip" in done.stdout


class Service:
    """What push asks of the hub: keeps what it is given."""

    def __init__(self):
        self.repos, self.files, self.revisions = {}, {}, []

    def create_repo(self, repo, *, private, exist_ok):
        assert exist_ok
        self.repos[repo] = private

    def create_commit(self, repo, operations, *, commit_message, revision):
        assert commit_message
        self.revisions.append(revision)
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()
        return SimpleNamespace(commit_url=f"https://hub/{repo}/commit/1")


@pytest.fixture
def service(cache, monkeypatch):
    import huggingface_hub

    service = Service()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: service)
    return service


def test_what_was_pushed_can_be_loaded(run, service, cache):
    assert push(run, "hf://ada/poses", private=True) == "https://hub/ada/poses/commit/1"
    assert service.repos == {"ada/poses": True}
    assert list(service.files) == [WEIGHTS, "README.md"]
    keep(cache, "ada/poses", service.files)
    assert load_card("hf://ada/poses").class_names == load_card(run).class_names
    own, theirs = load_file(run / WEIGHTS), load_file(weights_file("hf://ada/poses"))
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_the_card_of_a_pushed_run(tmp_path, service):
    config = from_preset("report")
    data = replace(config.data, data="/home/ada/secret/mine.safetensors")
    model = replace(config.model, init="/home/ada/first.safetensors")
    run = write_run(tmp_path / "run", config=replace(config, data=data, model=model))
    (run / "robustness.csv").write_text("run,alpha,top1_percent\nrun,0,91.25\nrun,0.1,80\n")
    push(run, "hf://ada/poses@dev/a.safetensors")
    assert service.revisions == ["dev"]
    assert service.repos == {"ada/poses": None}
    readme = service.files["README.md"].decode()
    assert readme.startswith("---\nlibrary_name: fastpose\n")
    assert "fastpose predict hf://ada/poses@dev/a.safetensors keypoints.json --layout coco17" in readme
    assert "| α | 0 | 0.1 |\n|---|---|---|\n| top-1 % | 91.2 | 80.0 |" in readme
    for name in load_card(run).class_names:
        assert name in readme
    assert "mine.safetensors" in readme
    assert b"/home/ada" not in service.files["a.safetensors"] + service.files["README.md"]


def test_facts_for_people_are_kept(service, tmp_path):
    push("penn-robust", "hf://ada/penn")
    (tmp_path / WEIGHTS).write_bytes(service.files[WEIGHTS])
    with safe_open(tmp_path / WEIGHTS, framework="pt") as file:
        assert file.metadata()["licence"].startswith("Apache-2.0")
    assert len(service.files[WEIGHTS]) < 10**6  # still float16


def test_export_uploads(run, service, capsys):
    export = load_command("export").main
    assert export([str(run), "--out", "hf://ada/poses"]) == 0
    assert capsys.readouterr().out == "hf://ada/poses: https://hub/ada/poses/commit/1\n"
    assert load_card(run).denoise == "off"
    assert export([str(run), "--out", "hf://ada/poses", "--denoise", "sure", "--private"]) == 0
    assert service.repos == {"ada/poses": True}
    assert b'"denoise":"sure"' in service.files[WEIGHTS]
    assert export([str(run), "--out", "hf://ada/poses", "--format", "onnx"]) == 2
    assert "only weights are uploaded" in capsys.readouterr().err
    assert export([str(run), "--out", "model.onnx", "--private"]) == 2
    assert "--private has no effect on a file" in capsys.readouterr().err


def test_addresses_that_nothing_can_be_pushed_to(run, service, tmp_path):
    with pytest.raises(ValueError, match="ada/poses: expected hf://user/repo"):
        push(run, "ada/poses")
    with pytest.raises(ValueError, match="not found"):
        push(tmp_path / "absent", "hf://ada/poses")
    (tmp_path / "model.pth").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match="is no weights file of fastpose"):
        push(tmp_path / "model.pth", "hf://ada/poses")
    assert not service.files
