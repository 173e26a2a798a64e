"""Runs for others: weights and a model card, put into a repository of Hugging Face's hub."""

import csv
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fastpose.weights.card import ModelCard
from fastpose.weights.describing import describe, without_folders
from fastpose.weights.hub import FORM, HubAddress, hub_errors, hub_package
from fastpose.weights.runs import COMPLETE, load_weights, weights_file, write_weights


def push(run: str | Path, address: str, *, private: bool | None = None) -> str:
    """Upload the weights of a finished run, and its model card as README.md; return the address of the commit.

    The card has the curve of the run's robustness.csv. Nothing that is uploaded names folders of this machine.

    Args:
        run: as for ``load_model``.
        address: "hf://user/repo", with "@branch" or "/file.safetensors" where it is not main and model.safetensors.
        private: whether a repository that is not there yet is made private; by default as the account says.

    Raises:
        ValueError: no such run, another form of address, huggingface_hub is missing, or the hub refuses.
    """
    path = weights_file(run)
    weights, card, facts = load_weights(path)
    return upload(weights, card, address, private=private, facts=facts, top1=_read_top1(path.parent))


def upload(
    weights: Mapping[str, Tensor],
    card: ModelCard,
    address: str,
    *,
    private: bool | None = None,
    facts: Mapping[str, str] | None = None,
    top1: Mapping[float, float] | None = None,
) -> str:
    """Upload weights with their card, as ``push`` does.

    Args:
        facts: metadata for people, as in ``write_weights``.
        top1: accuracy in percent by noise level, for README.md.
    """
    place = HubAddress.parse(address)
    if place is None:
        raise ValueError(f"{address}: expected {FORM}")
    hub = hub_package()
    card = without_folders(card)
    readme = describe(
        card, weights, title=place.repo.partition("/")[2], run=str(place), top1=top1, front_matter=True
    )
    with tempfile.TemporaryDirectory() as folder, hub_errors(place):
        file = Path(folder) / "model.safetensors"
        write_weights(file, weights, card, facts)
        api = hub.HfApi()
        api.create_repo(place.repo, private=private, exist_ok=True)
        commit = api.create_commit(
            place.repo,
            [
                hub.CommitOperationAdd(path_in_repo=place.file, path_or_fileobj=file),
                hub.CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=readme.encode()),
            ],
            commit_message="Upload a model of fastpose",
            revision=place.revision,
        )
    return str(commit.commit_url)


def _read_top1(run: Path) -> dict[float, float] | None:
    """Return top-1 in percent by noise level, as training measured it; None where it did not."""
    try:
        with open(run / COMPLETE, newline="", encoding="utf-8") as file:
            return {float(row["alpha"]): float(row["top1_percent"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        return None
