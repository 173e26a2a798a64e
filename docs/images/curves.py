"""Draw accuracy over noise, from README's own table, as docs/images/curves.png.

python docs/images/curves.py
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
ROW = re.compile(r"^\| (.+?) \|((?: [\d.]+±[\d.]+ \|)+)$", re.MULTILINE)


def read_table(text: str) -> tuple[list[float], dict[str, list[tuple[float, float]]]]:
    """Return the noise levels, and of each arm (mean, standard deviation) in percent, of the table in ``text``."""
    header = re.search(r"^\| \| α = 0 \|(.+)\|$", text, re.MULTILINE)
    alphas = [0.0, *(float(level) for level in header[1].split("|"))]
    arms = {
        name: [tuple(map(float, cell.split("±"))) for cell in re.findall(r"[\d.]+±[\d.]+", cells)]
        for name, cells in ROW.findall(text)
    }
    return alphas, arms


def main() -> None:
    alphas, arms = read_table((HERE.parents[1] / "README.md").read_text(encoding="utf-8"))
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, points in arms.items():
        means, deviations = zip(*points, strict=True)
        style = "--" if name.startswith("contrastive") else "-"
        axes.errorbar(
            alphas, means, deviations, label=name, linestyle=style, marker="o", markersize=3, capsize=2
        )
    axes.set(
        xlabel="noise level α",
        ylabel="top-1 (%)",
        ylim=(0, 100),
        title="Penn Action, skeletons (PoseConv3D where no model is named)",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(HERE / "curves.png", dpi=110)


if __name__ == "__main__":
    main()
