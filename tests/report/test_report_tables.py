"""Tables of a report: which methods and densities share one, and how they are written."""

from dataclasses import replace

from lth.report._tables import grids, latex, markdown
from tests.support.written_runs import only_series, write_run


def test_ladders_and_single_densities_share_no_table_of_empty_cells(tmp_path):
    ladder = [(round(0.8**k, 6), 0.9) for k in range(12)]
    write_run(tmp_path, "imp", 0.08, 0, ladder, ladder="geometric")
    write_run(tmp_path, "erk", levels=[(0.8**5, 0.7)])
    section, series = only_series(tmp_path)
    few, whole = grids(section, series)
    assert (few.rows, few.columns) == (("erk", "imp"), ("0.3277",))
    assert (len(whole.rows), whole.columns) == (12, ("imp",))
    assert few.best == {("imp", "0.3277")}


def test_densities_that_training_chose_have_a_table_of_their_own(tmp_path):
    for method in ("erk", "snip"):
        write_run(tmp_path, method, levels=[(0.1, 0.7)])
    for k in range(9):
        write_run(tmp_path, f"filters{k}", levels=[(round(0.11 + 0.01 * k, 6), 0.6)])
    section, series = only_series(tmp_path)
    common, chosen = grids(section, series)
    assert (common.rows, common.columns) == (("erk", "snip"), ("0.1",))
    assert chosen.columns == tuple(f"filters{k}" for k in range(9))
    assert len(chosen.cells) == 9


def test_tables_are_written_in_blocks_and_escaped(tmp_path):
    write_run(tmp_path, "a_b", levels=[(round(0.9**k, 6), 0.5) for k in range(9)], ladder="geometric")
    section, series = only_series(tmp_path)
    (table_,) = grids(section, series)
    assert markdown(table_).count("50.00") == 9
    assert r"a\_b" in latex(table_)
    assert "a_b" not in latex(table_)
    braces = replace(table_, columns=("a={b:$1}\\c",), cells={})
    assert r"a=\{b:\$1\}\textbackslash c" in latex(braces)
