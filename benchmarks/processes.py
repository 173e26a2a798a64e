"""What a step costs that several processes take together: its bytes, its time, and what a model predicts of it.

    torchrun --nproc-per-node 2 benchmarks/processes.py [--preset robust] [--batch-size 32] [--steps 30]

What is predicted: a step of B clips in N processes takes the time of B / N clips in one, and that of exchanging outputs
and gradient. Both are measured here, in the processes that then take the step. docs/several-processes.md goes on
from there.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from fastpose.data.synthetic.builtin import open_clips
from fastpose.settings.files import from_preset
from fastpose.system.environment import summary
from fastpose.system.processes import ALONE, Processes, joined_processes
from fastpose.training.setup import Setup
from fastpose.training.task import Views


def median_seconds(call: Callable[[], object], times: int, processes: Processes) -> float:
    """Return the median time of ``call``, which all processes begin together, and which ends with the last of them."""
    together, taken = torch.zeros(1), []
    for _ in range(times):
        processes.add(together)
        started = time.perf_counter()
        call()
        processes.add(together)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[times // 5 :])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="robust")
    parser.add_argument("--input", default=None)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--sync-batch-norm", action="store_true")
    parser.add_argument("--steps", type=int, default=30)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    with joined_processes("cpu") as processes:
        measure(chosen, processes)


def measure(chosen: argparse.Namespace, processes: Processes) -> None:
    config, packed = from_preset(chosen.preset), open_clips("synthetic")
    optim = replace(
        config.optim, batch_size=chosen.batch_size, device="cpu", precision=chosen.precision,
        sync_batch_norm=chosen.sync_batch_norm,
    )  # fmt: skip
    model = replace(config.model, input=chosen.input or config.model.input)
    config = replace(config, optim=optim, model=model)
    shared, alone = Setup(config, packed, processes), Setup(config, packed, ALONE)
    clips = np.resize(shared.train_indices, chosen.batch_size)
    own = clips[processes.parts(len(clips))[processes.rank]]
    batches: Views = shared.draw(own, 0)
    step = median_seconds(lambda: shared.step(batches, 0, 1e-4, len(clips)), chosen.steps, processes)
    part = median_seconds(lambda: alone.step(batches, 0, 1e-4), chosen.steps, processes)

    weights = sum(weight.numel() for weight in shared.model.parameters())
    outputs = alone.task.forward(
        alone.model.eval(), {view: batch.part(0, 1) for view, batch in batches.items()}
    )
    width = sum(output.logits.shape[1] + output.features.shape[1] for output in outputs.values())
    rows = -(-len(clips) // processes.size)
    gradient, block = torch.zeros(weights), torch.zeros(1 + rows, 1 + width)
    exchange = median_seconds(
        lambda: (processes.add(gradient), processes.gather(block)), chosen.steps, processes
    )
    norms = [module.num_features for module in shared.model.modules() if isinstance(module, _BatchNorm)]
    others, size = processes.size - 1, processes.size
    of_norms = sum((1 + 2 * channels) * others + 4 * channels * others / size for channels in norms)
    of_norms *= 4 * len(shared.task.views)
    if not processes.leads:
        return
    print(f"{chosen.preset}, {model.model}, input {model.input}, {chosen.precision}; {summary()}")
    print(f"processes {processes.size}, batch {len(clips)}, {weights:,} weights, {width:,} outputs of a clip")
    print(f"sent by each: gradient {8 * weights * others / size / 1e6:.2f} MB, outputs "
          f"{4 * block.numel() * others / 1e6:.3f} MB"
          + (f", statistics {of_norms / 1e6:.3f} MB" if chosen.sync_batch_norm else ""))  # fmt: skip
    times = {"its part alone": part, "exchange": exchange, "predicted": part + exchange, "measured": step}
    told = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in times.items())
    print(f"{told}, {len(clips) / step:.0f} clips/s")


if __name__ == "__main__":
    main()
