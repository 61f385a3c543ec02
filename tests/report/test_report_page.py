"""The report's page: whole in one file, in bounds on a phone, and drawn by a real browser where there is one."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from lth.report.write import write_report as report
from tests.report.test_report import write_run

VOID = {"meta", "br", "img", "hr", "link", "input"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Tags(HTMLParser):
    """Fails where tags do not nest; remembers every address that the page asks for."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src")]

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
    write_run(root / "runs", seed=7, complete=False)
    report([root / "runs"], root / "out")
    return root / "out" / "report.html"


@pytest.mark.slow
def test_the_page_nests_and_asks_for_nothing_from_elsewhere(page):
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.addresses
    assert all(address.startswith(("#", "data:image/")) for address in tags.addresses)
    assert not re.search(r"https?://|url\((?!#)|@import", text)
    assert "a&lt;b&gt;&amp;c" in text
    assert "<b>&c" not in text


@pytest.mark.slow
def test_all_pictures_are_inline_and_in_the_page_s_ink(page):
    text = page.read_text()
    assert text.count("<svg ") == 3
    assert "currentColor" in text
    assert "#2b2b2c" not in text


@pytest.mark.slow
def test_the_same_runs_make_the_same_page(page, tmp_path):
    report([page.parent.parent / "runs"], tmp_path)
    assert (tmp_path / "report.html").read_text() == page.read_text()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [500, 1100])
def test_a_browser_draws_it_and_it_is_no_wider_than_the_window(page, tmp_path, width):
    probe = "<script>document.title=JSON.stringify([document.documentElement.scrollWidth,innerWidth,"
    probe += "[...document.querySelectorAll('svg')].map(s=>s.getBoundingClientRect().height>100)])</script>"
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{probe}</body>"))
    options = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    options += [f"--window-size={width},900", "--dump-dom", probed.as_uri()]
    drawn = subprocess.run(options, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r"<title>\[(\d+),(\d+),\[(.*?)\]\]</title>", drawn)
    assert found
    assert int(found[1]) <= int(found[2])
    assert found[3] == "true,true,true"
