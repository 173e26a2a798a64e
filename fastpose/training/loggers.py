"""Where the metrics of a run go: a csv file, and TensorBoard where it is installed."""

import csv
from pathlib import Path

from fastpose.system.files import write_csv
from fastpose.weights.runs import METRICS


class CsvLog:
    """Rows of metrics by epoch in ``path``; a column that a row does not name is empty there.

    On resuming, rows from ``first_epoch`` on are dropped, since they will be written again.

    Raises:
        ValueError: the rows that are there have no epochs.
    """

    def __init__(self, path: str | Path, first_epoch: int = 0) -> None:
        self.path = Path(path)
        self._rows: list[dict[str, str]] = []
        if first_epoch > 0 and self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            try:
                self._rows = [row for row in rows if int(row["epoch"]) < first_epoch]
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"{self.path}: expected a table of metrics with a number in its column epoch"
                ) from None

    def write(self, row: dict[str, float | int]) -> None:
        """Append ``row``; the file on disk is whole at any moment."""
        self._rows.append({key: _format(value) for key, value in row.items()})
        write_csv(self.path, self._rows)


def _format(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


class TensorBoardLog:
    """Scalars for TensorBoard; does nothing where the package is not installed."""

    def __init__(self, folder: str | Path, first_epoch: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer = None
            return
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def write(self, row: dict[str, float | int]) -> None:
        if self._writer is not None:
            for key, value in row.items():
                if key != "epoch":
                    self._writer.add_scalar(key, value, int(row["epoch"]))
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class RunLog:
    """Rows of metrics by epoch wherever they are kept, for a run in ``folder``; nowhere unless it ``writes``.

    Raises:
        ValueError: as ``CsvLog``.
    """

    def __init__(self, folder: Path, first_epoch: int, *, writes: bool) -> None:
        self._csv = CsvLog(folder / METRICS, first_epoch) if writes else None
        self._board = TensorBoardLog(folder, first_epoch) if writes else None

    def write(self, row: dict[str, float | int]) -> None:
        for log in (self._csv, self._board):
            if log is not None:
                log.write(row)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
