"""Reproductions whose figures are known by hand."""

from fastpose.evaluation.confusion import ConfusedPair
from fastpose.evaluation.metrics import Accuracy
from fastpose.reproduction.results import Reproduction, RowResult, RunResult, Section

NASTY = "<script>alert(1)</script> a|b `c` *d* $x$ &amp; \u202eü\n# \"'"


def curve_of(tops, num_clips=1000):
    """Accuracies of these top-1 by level; top-5 is ten points above, the mean of classes one below."""
    return {alpha: Accuracy(top1, min(top1 + 10, 100.0), top1 - 1, num_clips) for alpha, top1 in tops.items()}


def run(seed, tops, *, families=None, pairs=(), seconds=60.0, threads=1):
    """A finished run."""
    return RunResult(
        folder=f"run-s{seed}",
        seed=seed,
        curve=curve_of(tops),
        families={name: curve_of(levels) for name, levels in (families or {}).items()},
        pairs=[
            ConfusedPair(true=true, predicted=predicted, clips=clips, percent_of_true=percent)
            for true, predicted, clips, percent in pairs
        ],
        train_seconds=seconds,
        threads=threads,
    )


def row(label, runs=(), **named):
    """A row that is to have three runs."""
    return RowResult(
        **{"label": label, "text": "what is trained", "settings": {}, "seeds": 3, "runs": list(runs)} | named
    )


def section(*rows, name="table3", title="Table III"):
    """A table of these rows."""
    return Section(name=name, title=title, text="What is compared.", rows=rows)


def reproduction(*sections, **named):
    """A reproduction of these tables."""
    return Reproduction(
        **{
            "title": "Reproduction",
            "command": "fastpose reproduce",
            "facts": {"clips": "1,000"},
            "chance_percent": 10.0,
            "sections": sections,
        }
        | named
    )


def full_reproduction(text="plain"):
    """One with all there is to show, and ``text`` wherever a user's text may stand."""
    families = {"gaussian": {0.0: 90.0, 0.1: 50.0}, "drift": {0.0: 90.0, 0.1: 30.0}}
    pairs = [(text, "sit", 4, 8.0), ("sit", text, 2, 4.0)]
    rows = [
        row(
            text,
            [run(seed, {0.0: 90.0 + seed, 0.1: 50.0}, families=families, pairs=pairs) for seed in (0, 1)],
            text=text,
            settings={text: [text, 0.5]},
            published={0.0: 87.0, 0.02: 42.0},
            published_top5=98.7,
            reason=text,
        ),
        row("none", reason=text, published={0.0: 80.0, 0.1: 20.0}),
    ]
    sections = (
        section(*rows, name="table3", title=text),
        section(*rows, name="table3", title="again"),
        section(name=text, title="no rows"),
    )
    return reproduction(
        *sections, title=text, command=f"fastpose reproduce --data '{text}'", facts={text: text}
    )
