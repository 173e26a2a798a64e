"""Make a starter model's file and card of a finished run: `python benchmarks/make_starter.py RUN PACK`, in a checkout.

The weights are stored as float16, and measured as such on the test clips of PACK.
"""

import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from fastpose.evaluation.runs import evaluate_runs
from fastpose.settings import EvalConfig
from fastpose.weights.describing import describe, without_folders
from fastpose.weights.named import STARTERS
from fastpose.weights.runs import load_card, weights_file, write_weights

NAME = "penn-robust"
ALPHAS = (0.0, 0.015, 0.02, 0.05, 0.1, 0.2, 0.3)
COMMANDS = """fastpose pack penn-action Penn_Action/ --out penn.safetensors
fastpose train --data penn.safetensors --preset dct_mlp --seeds 0 1 2 --threads 1 --out runs
python benchmarks/make_starter.py runs/augmented-0-0.3-s0 penn.safetensors
"""
FACTS = {
    "name": NAME,
    "trained_on": "Penn Action (Zhang, Zhu, Derpanis: From Actemes to Action, ICCV 2013), its official training "
    "split: 1,258 clips, 13 joints annotated by hand, 15 classes",
    "licence": "Apache-2.0 (the weights)",
    "data_licence": "Penn Action is its authors': published for research, with a request to cite and without a "
    "licence text. Whoever needs more must ask them",
    "not_for": "other actions than its 15 classes, of which it always names one; watching, identifying or judging "
    "people; decisions on anyone's health, safety, work or rights",
    "commands": COMMANDS,
}
REST = f"""
The test clips are the official test split, 1,068 clips, measured with the weights as they are in this file, those of
the last epoch. Three seeds were trained, and this is the first, whatever its figures; the means of the three at α = 0,
0.1, 0.2 and 0.3 are 96.5, 95.6, 93.0 and 89.3 %. The sampling error of a figure near 95 % is ±0.67 points. α is the
standard deviation of the noise in units of the frame's size times the clip's own motion. The joints of the test clips
were annotated by hand, as those of the training clips: keypoints of an estimator have errors of other kinds, for which
these figures do not speak.

## Trained on

{FACTS["trained_on"]}. Keypoints of other layouts are converted to these joints by name.

```sh
{COMMANDS}```

## Not for

{FACTS["not_for"][0].upper()}{FACTS["not_for"][1:]}. It has seen single
persons, mostly athletes, in trimmed clips of one action.

## Licence

Weights: Apache-2.0, as fastpose. {FACTS["data_licence"]}.
"""


def halved(tensor: Tensor) -> Tensor:
    """Return floating-point numbers as float16, others as they are."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    assert half.isfinite().all(), "the weights are out of float16's range"
    return half


def main(run: str, pack: str) -> None:
    card = without_folders(load_card(run))
    weights = {name: halved(value) for name, value in load_file(weights_file(run)).items()}
    target = STARTERS / f"{NAME}.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / f"{NAME}.safetensors"
        write_weights(measured, weights, card)
        curves = evaluate_runs({NAME: measured}, EvalConfig(alphas=ALPHAS), Path(folder), data=pack)
    top1 = {alpha: accuracy.top1_percent for alpha, accuracy in curves[NAME].items()}
    curve = ", ".join(f"{alpha:g}: {share:.1f}" for alpha, share in top1.items())
    write_weights(target, weights, card, FACTS | {"top1_percent_by_alpha": curve})
    text = describe(card, weights, title=NAME, run=NAME, top1=top1)
    target.with_suffix(".md").write_text(text + REST, encoding="utf-8")
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
