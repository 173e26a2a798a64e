import csv

import pytest

from fastpose.training.loggers import CsvLog


def test_rows_from_the_first_epoch_on_are_written_again(tmp_path):
    path = tmp_path / "metrics.csv"
    log = CsvLog(path)
    for epoch in range(4):
        log.write({"epoch": epoch, "loss": 0.5 * epoch})
    CsvLog(path, 2).write({"epoch": 2, "loss": 7.0, "val_top1": 1 / 3})
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"epoch": "0", "loss": "0", "val_top1": ""},
        {"epoch": "1", "loss": "0.5", "val_top1": ""},
        {"epoch": "2", "loss": "7", "val_top1": "0.333333"},
    ]


@pytest.mark.parametrize(
    "text", ["loss,top1\n1,2\n", "epoch,loss\nx,1\n", "epoch,loss\n,1\n", "loss,epoch\n3\n"]
)
def test_a_table_without_epochs_is_named(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(
        ValueError, match="metrics.csv: expected a table of metrics with a number in its column"
    ):
        CsvLog(path, 1)
    assert path.read_text() == text
