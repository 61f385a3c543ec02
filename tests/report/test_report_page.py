"""The report's page: whole in one file, escaped, with the same data for the same runs."""

import json
import re
from html.parser import HTMLParser

import pytest

from lth.report._page_data import as_json
from lth.report.write import write_report as report
from tests.support.written_runs import write_run

VOID = {"meta", "br", "img", "hr", "link", "input"}
SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.S)


class Tags(HTMLParser):
    """Fails where tags do not nest; remembers every address that the page asks for."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    for method, gain in (("erk", 0.0), ("a<b>&c", 0.05)):
        for seed in range(3):
            for density in (0.1, 0.05):
                levels = [(density, 0.5 + density + gain + 0.01 * seed)]
                write_run(root / "runs", method, density, seed, levels)
    write_run(root / "runs", "snip", 0.05, 0, [(0.05, 0.4)])
    write_run(root / "runs", seed=7, complete=False)
    report([root / "runs"], root / "out")
    return root / "out" / "report.html"


def data_of(page):
    """The data that the page's scripts read."""
    return json.loads(SCRIPT.search(page.read_text())[1])


@pytest.mark.slow
def test_the_page_nests_and_asks_for_nothing_from_elsewhere(page):
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.addresses
    assert all(address.startswith("#") for address in tags.addresses)
    assert not re.search(r"https?://|url\((?!#)|@import", SCRIPT.sub("", text))
    assert "default-src 'none'; script-src 'sha256-" in text
    assert "a&lt;b&gt;&amp;c" in text
    assert "<b>&c" not in text


@pytest.mark.slow
def test_a_point_leads_to_its_runs_and_the_best_is_compared_with_each_other_series(page):
    (section,) = data_of(page)["sections"]
    series = {one["label"]: one for one in section["series"]}
    point = next(point for point in series["erk"]["points"] if point["density"] == 0.05)
    assert [section["runs"][index]["seed"] for index in point["runs"]] == [0, 1, 2]
    assert {section["runs"][index]["label"] for index in point["runs"]} == {"erk"}
    (at,) = [one for one in section["best"] if one["density"] == 0.05]
    named = {section["series"][index]["label"]: (outcome, lead) for index, outcome, lead, *_ in at["order"]}
    assert named == {"a<b>&c": ("best", 0.0), "erk": ("behind", 0.05), "snip": ("few", 0.21)}


@pytest.mark.slow
def test_a_run_has_its_command_its_settings_and_its_reason(page):
    (section,) = data_of(page)["sections"]
    unfinished = next(run for run in section["runs"] if run["seed"] == 7)
    command = "lth run method=erk model=mlp dataset=digits sparsity=one_shot sparsity.density=0.1 seed=7"
    assert (unfinished["command"], unfinished["rebuilt"]) == (command, True)
    assert (unfinished["state"], unfinished["reason"]) == ("incomplete", "stopped after level 0; 1 level finished")
    assert section["settings"]["common"]["recipe.lr"] == "0.1"
    method = section["settings"]["varying"]["choices.method"]
    assert [method["values"][index] for index in method["of"]] == [run["label"] for run in section["runs"]]


@pytest.mark.slow
def test_the_same_runs_make_the_same_page(page, tmp_path):
    report([page.parent.parent / "runs"], tmp_path)
    assert (tmp_path / "report.html").read_text() == page.read_text()


def test_data_cannot_end_its_element_or_begin_another():
    text = as_json({"name": "</script><!--&amp;<script>\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": "</script><!--&amp;<script>\u2028"}
