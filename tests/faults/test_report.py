"""Text in a report is text: no script in its page, no formula in its tables."""

import csv
import json
import re

import pytest
import yaml

from lth.report.collect import collect
from lth.report.output import write_csv
from lth.report.write import write_report
from lth.storage.folder import RunFolder
from tests.support.written_runs import write_run

SCRIPT = "<script>alert(1)</script>"


def test_no_cell_of_text_begins_a_formula(tmp_path):
    rows = [{"name": text, "number": -1.5} for text in ("=1+1", "+1", "-1", "@sum", "\tx", "plain")]
    with write_csv(tmp_path / "t.csv", rows).open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == ["'=1+1", "'+1", "'-1", "'@sum", "'\tx", "plain"]
    assert {row["number"] for row in read} == {"-1.5"}


@pytest.mark.slow
def test_the_page_escapes_names_and_seeds(tmp_path):
    write_run(tmp_path / "runs", SCRIPT.replace("/", ""), 0.1, 0, [(0.1, 0.9)])
    odd = write_run(tmp_path / "runs", "erk", 0.1, 1, [(0.1, 0.9)])
    content = yaml.safe_load((odd / "config.yaml").read_text())
    content["config"]["seed"] = SCRIPT
    (odd / "config.yaml").write_text(yaml.safe_dump(content))
    write_report([tmp_path / "runs"], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert [line[:40] for line in re.findall("<script.*", page)] == [
        '<script type="application/json" id="data',
        "<script>/**",
        "<script>'use strict';(()=>{",
    ]


@pytest.mark.parametrize("row", [{"level": "x", "density": 0.1}, {"level": 0, "density": None}, {"level": 0}])
def test_a_level_whose_numbers_are_none_is_listed_as_failed(row, tmp_path):
    folder = write_run(tmp_path)
    (folder / "level_00_level0" / "finished").write_text(json.dumps({"row": row}))
    (run,) = collect([tmp_path])
    assert run.state == "failed"


def test_half_a_picture_is_no_picture(tmp_path):
    folder = write_run(tmp_path)
    assert RunFolder(folder).has_picture("curve.png")
    (folder / "curve.png").write_bytes((folder / "curve.png").read_bytes()[:-1])
    assert not RunFolder(folder).has_picture("curve.png")
    (run,) = collect([tmp_path])
    assert run.state == "incomplete"
