"""Prints the lowest versions that pyproject.toml states, as constraints for pip.

torch and triton are those of constraints.txt: one build of torch is at hand, and it names the one triton that fits.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for requirement in map(Requirement, [*project["dependencies"], *extras["test"], *extras["export"]]):
    if requirement.name not in ("torch", "triton", project["name"]):
        (bound,) = requirement.specifier
        assert bound.operator == ">=", f"{requirement}: expected a lower bound"
        print(f"{requirement.name}=={bound.version}")
for pin in Path("constraints.txt").read_text().split():
    if pin.startswith(("torch==", "triton==")):
        print(pin)
