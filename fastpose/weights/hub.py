"""Weights in repositories of Hugging Face's hub, addressed as hf://user/repo@revision/file.safetensors."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTALL = "pip install 'fastpose-action[hub]'"
WEIGHTS = "model.safetensors"
FORM = "hf://user/repo, hf://user/repo@revision or hf://user/repo/file.safetensors"
PREFIX = re.compile("hf:/+")  # a Path has made one slash of two
ADDRESS = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^@/]+))?(/(?P<file>.+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where weights lie on the hub.

    Attributes:
        repo: "user/repo".
        revision: branch, tag or commit; None for the repository's main branch.
        file: path of the weights in it, which end in .safetensors.
    """

    repo: str
    revision: str | None = None
    file: str = WEIGHTS

    @classmethod
    def parse(cls, run: str | Path) -> "HubAddress | None":
        """Read an address; what does not begin with "hf://" is none.

        Raises:
            ValueError: it begins so, but has another form, or names a file that is not safetensors.
        """
        begin = PREFIX.match(str(run))
        if begin is None:
            return None
        text = str(run)[begin.end() :]
        found = ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError(f"hf://{text}: expected {FORM}")
        file = found["file"] or WEIGHTS
        if not file.endswith(".safetensors"):
            raise ValueError(f"hf://{text}: only .safetensors files are loaded from the hub, not {file}")
        return cls(found["repo"], found["revision"], file)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repo}{revision}" + ("" if self.file == WEIGHTS else f"/{self.file}")


def hub_package() -> Any:
    """Import huggingface_hub.

    Raises:
        ValueError: it is not installed, or cannot be imported; the text says how to install it.
    """
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ValueError(f"hf:// addresses need the package huggingface_hub ({error}): {INSTALL}") from error


def download(address: HubAddress) -> Path:
    """Return the weights at ``address`` in huggingface_hub's cache; they are fetched unless they are there.

    Raises:
        ValueError: the package is missing, the hub cannot be reached, or there is no such repository, revision or file.
    """
    hub = hub_package()
    with hub_errors(address):
        return Path(hub.hf_hub_download(address.repo, address.file, revision=address.revision))


@contextmanager
def hub_errors(address: HubAddress) -> Iterator[None]:
    """Turn the errors of huggingface_hub into a ``ValueError`` of one sentence."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        offline = isinstance(error.__cause__, errors.OfflineModeIsEnabled)
        why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise ValueError(f"{address}: {address.file} is not in the cache, and {why}") from error
    except errors.OfflineModeIsEnabled as error:
        raise ValueError(f"{address}: the hub cannot be reached, HF_HUB_OFFLINE is set") from error
    except errors.GatedRepoError as error:
        raise ValueError(
            f"{address}: access must be granted by the repository's owner; log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"{address}: no repository {address.repo}, or a private one; log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{address}: {address.repo} has no revision {address.revision}") from error
    except errors.EntryNotFoundError as error:
        raise ValueError(f"{address}: {address.repo} has no file {address.file}") from error
    except Exception as error:  # of the transport below, whose package differs from version to version
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{address}: the hub's client failed ({reason or type(error).__name__})") from error
