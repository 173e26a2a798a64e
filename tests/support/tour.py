"""A tour of the package: what it computes may not depend on whether the compiled extension is there.

`python -m support.tour FOLDER [RUNS]` takes it in a process of its own and writes what it found to FOLDER.
"""

import csv
import importlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np

PACKAGES = ("", ".data", ".models", ".ops", ".prediction", ".weights")
MODELS = {"skeleton": "posec3d", "heatmap": "x3d_shallow"}  # by input
FORMATS = {"skeleton": ".pt2", "heatmap": ".safetensors"}  # exported to


def tour(folder: Path, runs: Path | None = None) -> dict[str, np.ndarray]:
    """Import, decode, pack, sample, run operators, train, predict and export within ``folder``.

    Predictions are those of the runs in ``runs``, by default of the ones trained here.
    """
    for name in PACKAGES:
        package = importlib.import_module("fastpose" + name)
        assert all(getattr(package, public) is not None for public in dir(package))
    found = decoded(folder) | sampled() | operated()
    for kind in MODELS:
        train(folder / "runs" / kind, kind)
        run = (runs or folder / "runs") / kind / "supervised-s0"
        found |= predicted(run, kind)
        found[f"loss of {kind}"] = final_loss(folder / "runs" / kind / "supervised-s0")
        export(run, folder / (kind + FORMATS[kind]))
    return found


def decoded(folder: Path) -> dict[str, np.ndarray]:
    from support.packing import write_skeletons

    from fastpose.data import read_skeleton, select_bodies
    from fastpose.data.sources.ntu import pack_ntu

    names = ["S001C001P001R001A001", "S001C002P003R002A060", "S002C003P002R001A013"]
    files = write_skeletons(folder / "skeletons", *names, frames=7)
    packed, log = pack_ntu(files)
    assert log.num_skipped == 0
    skeleton = read_skeleton(files / f"{names[0]}.skeleton")
    joints, frames = select_bodies(skeleton)
    arrays = {name: getattr(packed, name) for name in ("keypoints", "scores", "total_difference")}
    return arrays | {"joints": joints, "frames of bodies": frames, "body": skeleton.bodies[0].joints}


def sampled() -> dict[str, np.ndarray]:
    from support.sampling import make_pack

    from fastpose.data import AlphaRange, ClipSampler

    pack = make_pack([(1 + i % 2, 3 + 7 * i) for i in range(12)], 17, missing=0.2)
    found = {}
    for rule in ("segments", "resample"):
        sampler = ClipSampler(pack, frame_rule=rule, clip_len=8)
        batch = sampler.batch(range(12), epoch=3, stream=1, alpha=AlphaRange(0, 0.1))
        fields = ("frames", "draws", "keypoints")
        found |= {f"sampled {field} by {rule}": getattr(batch, field).numpy() for field in fields}
    return found


def operated() -> dict[str, np.ndarray]:
    """What each operator gives in training, and the gradient in its first argument."""
    import torch

    from fastpose import ops

    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    def norm(channels):
        return torch.zeros(channels), torch.ones(channels), random(channels), random(channels)

    poses = torch.cat([8 * random(2, 1, 4, 3, 2).abs(), torch.ones(2, 1, 4, 3, 1)], -1)
    volumes = random(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    calls = {
        "attend": (ops.attend, random(2, 5, 6, 48), 2, 1),
        "batch_norm_relu": (ops.batch_norm_relu, volumes, *norm(8), True, 0.1, 1e-5),
        "batch_norm_depthwise": (
            ops.batch_norm_depthwise, volumes, *norm(8), random(8, 1, 3, 3, 3), 1, True, 0.1, 1e-5,
        ),
        "depthwise_conv3d": (ops.depthwise_conv3d, volumes, random(8, 1, 3, 3, 3)),
        "pose_stem": (ops.pose_stem, poses, random(4, 3, 1, 7, 7), (16, 16)),
        "render_heatmaps": (ops.render_heatmaps, poses, (16, 16)),
    }  # fmt: skip
    found = {}
    for name, (operator, first, *rest) in calls.items():
        first = first.clone().requires_grad_()
        result = operator(first, *rest)
        found[name] = result.detach().numpy()
        found[f"gradient of {name}"] = torch.autograd.grad(result.square().sum(), first)[0].numpy()
    return found


def train(folder: Path, kind: str) -> None:
    from support.clips import waving_clips

    from fastpose import train

    pack = folder.with_suffix(".safetensors")
    pack.parent.mkdir(parents=True, exist_ok=True)
    waving_clips(12).save(pack)
    flags = (
        f"--data {pack} --out {folder} --arms supervised --epochs 1 --alphas 0 0.05 --size 16 16 --clip-len 8 "
        f"--batch-size 4 --device cpu --precision fp32 --dropout 0 --model {MODELS[kind]} --input {kind}"
    )
    assert train.main(flags.split()) == 0


def final_loss(run: Path) -> np.ndarray:
    with open(run / "metrics.csv", newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def predicted(run: Path, kind: str) -> dict[str, np.ndarray]:
    from support.clips import waving_clips

    import fastpose

    packed = waving_clips(3, seed=1)
    clips = [packed.clip(i).keypoints for i in range(3)]
    settings = {"layout": "coco17", "image_size": (1080, 1920), "device": "cpu", "precision": "fp32"}
    predictions = fastpose.predict(clips, model=run, top_k=3, **settings)
    fields = ("labels", "scores", "features")
    return {f"{field} of {kind}": np.stack([getattr(one, field) for one in predictions]) for field in fields}


def export(run: Path, path: Path) -> None:
    from fastpose import export

    assert export.main([str(run), "--out", str(path)]) == 0


def main() -> None:
    folder, *runs = map(Path, sys.argv[1:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = tour(folder, *runs)
        refusals = refused_backends()
    told = [str(warning.message) for warning in caught if "fastpose._C" in str(warning.message)]
    (folder / "told.json").write_text(json.dumps({"warnings": told, "refusals": refusals}))
    np.savez(folder / "found.npz", **found)


def refused_backends() -> list[str]:
    import torch

    from fastpose import ops

    poses, volumes = torch.ones(1, 1, 2, 3, 3), torch.ones(1, 8, 2, 4, 4)
    refusals = []
    for call in (
        lambda: ops.render_heatmaps(poses, (8, 8), backend="native"),
        lambda: ops.depthwise_conv3d(volumes, torch.ones(8, 1, 3, 3, 3), backend="native"),
    ):
        try:
            call()
        except ValueError as error:
            refusals.append(str(error))
    return refusals


if __name__ == "__main__":
    main()
