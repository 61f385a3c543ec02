"""The leaderboard of a report: who is on it, in which order, at which densities."""

import pytest

from lth.report._sections import sections
from lth.report._series import series_of
from lth.report.collect import collect
from lth.report.figures._leaderboard import MANY, ranking, ranking_table
from lth.report.write import write_report as report
from tests.report.test_report_page import data_of
from tests.support.written_runs import write_run

pytestmark = pytest.mark.slow

METHODS = [f"method{i:02d}" for i in range(MANY)]


def ranked(root):
    ((section, series),) = [(s, series_of(s)) for s in sections(collect([root]))]
    return ranking(section, series)


def write_board(root, methods=METHODS):
    """Methods that are worse the later they come at density 0.02, and better at 0.1; two seeds."""
    for i, method in enumerate(methods):
        for density, accuracy in ((0.1, 0.8 + 0.01 * i), (0.02, 0.9 - 0.05 * i)):
            for seed in range(2):
                write_run(root, method, density, seed, [(density, accuracy + 0.001 * seed)])


def test_methods_stand_in_the_order_of_the_sparsest_common_density(tmp_path):
    write_board(tmp_path, METHODS)
    found = ranked(tmp_path)
    assert found.densities == (0.1, 0.02)
    assert list(found.points) == METHODS
    assert found.points["method03"][0.02].mean == pytest.approx(0.7505)
    assert found.dense is None


def test_a_place_is_a_range_where_seeds_do_not_separate_methods(tmp_path):
    for i, method in enumerate(METHODS):
        for seed in range(5):
            noise = 0.001 * ((seed * (i + 2)) % 5)  # the order within a group of methods depends on the seed
            write_run(tmp_path, method, 0.02, seed, [(0.02, 0.9 - 0.2 * (i >= 4) - 0.1 * (i >= 11) + noise)])
    ((section, series),) = [(s, series_of(s)) for s in sections(collect([tmp_path]))]
    lines = ranking_table(ranking(section, series), series).splitlines()
    assert "A place is the range" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["1–4"] * 4 + ["5–11"] * 7 + ["12"]


def test_few_methods_are_not_ranked(tmp_path):
    write_board(tmp_path, METHODS[1:])
    assert ranked(tmp_path) is None


def test_a_density_that_few_share_is_no_column_and_who_lacks_the_sparsest_one_comes_last(tmp_path):
    write_board(tmp_path)
    write_run(tmp_path, "best", 0.1, 0, [(1.0, 0.95), (0.3, 0.99), (0.1, 0.99)], ladder="geometric")
    write_run(tmp_path, "dense", 1.0, 0, [(1.0, 0.97)])
    write_run(tmp_path, "emerged", 0.033, 0, [(0.033, 0.98)])
    found = ranked(tmp_path)
    assert found.densities == (0.1, 0.02)
    assert list(found.points) == [*METHODS, "best"]
    assert found.dense == 0.97


def test_the_last_stage_of_a_method_counts(tmp_path):
    write_board(tmp_path)
    stages = [
        {"density": 0.02, "target_density": 0.02, "test_accuracy": value, "stage": stage}
        for stage, value in (("search", 0.99), ("finetune", 0.93))
    ]
    write_run(tmp_path, "searched", 0.02, 0, stages)
    found = ranked(tmp_path)
    assert next(iter(found.points.items()))[0] == "searched finetune"
    assert "searched search" not in found.points


def test_a_report_holds_the_ranking_first_and_draws_it(tmp_path):
    write_board(tmp_path / "runs")
    text = report([tmp_path / "runs"], tmp_path / "out")
    assert "| 1 | method00 | 80.05 ± 0.07 | 90.05 ± 0.07 | 2 |" in text
    assert text.index("Sorted by accuracy at density 0.02") < text.index("| method |")
    assert (tmp_path / "out" / "ranking.png").stat().st_size > 1000
    (section,) = data_of(tmp_path / "out" / "report.html")["sections"]
    order = [section["series"][index]["label"] for index, *_ in section["best"][-1]["order"]]
    assert order == METHODS
