"""The page in a real browser, driven by script: hover, zoom, toggles, sorting, filters, runs behind a point, themes."""

import shutil
import threading

import pytest

from lth.report.watch import _Handler, _Server
from lth.report.write import write_report
from tests.support.written_runs import write_run

pytestmark = pytest.mark.engine
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TWO = (1280, "light"), (360, "dark")  # width in pixels, colour scheme
FOUR = *TWO, (1280, "dark"), (360, "light")
METHODS = "erk", "imp", "random", "snip"
TRACES = "document.querySelector('.chart').data.filter(t => t.meta).length"


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with sync.sync_playwright() as driver:
        with_browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield with_browser
        with_browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    for place, method in enumerate(METHODS):
        for lr in (0.1, 0.01):
            for seed in range(3):
                levels = [(d, 0.9 - 0.05 * place - 0.1 * lr * place - 0.01 / d + 0.003 * seed) for d in (1.0, 0.5, 0.1)]
                options = f"recipe.lr={lr}"
                write_run(root / "runs", method, 0.1, seed, levels, {"lr": lr}, options, ladder="geometric")
    write_run(root / "runs", "<img src=x onerror=alert(1)>", 0.1, 0, [(0.1, 0.3)])
    write_report([root / "runs"], root / "out")
    return (root / "out" / "report.html").as_uri()


@pytest.fixture
def page(browser, report, request):
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append("a script of a run's name ran"))
    page.on(
        "request", lambda made: None if made.url.startswith(("file:", "data:", "blob:")) else problems.append(made.url)
    )
    page.goto(report)
    page.locator(".chart").first.scroll_into_view_if_needed()  # figures are drawn when they come into view
    page.wait_for_selector(".chart .scatterlayer", state="attached")
    yield page
    assert problems == []  # neither errors, nor the network, nor a breach of the content security policy
    page.close()


def first_cells(page, table):
    return page.locator(f"{table} tbody tr").evaluate_all("rows => rows.map(row => row.children[0].textContent)")


@pytest.mark.parametrize("page", FOUR, indirect=True)
def test_the_page_is_explored_at_every_width_and_theme(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.select_option("#theme", "light")
    page.select_option("#theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 20, 22)"
    page.select_option("#theme", "auto")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper

    assert page.evaluate(TRACES) == 9  # one a series
    page.locator(".legend button", has_text="imp lr=0.1").click()
    assert page.evaluate(TRACES) == 8
    page.select_option("select[data-key=yscale]", "error")
    page.select_option("select[data-key=xscale]", "linear")
    axes = page.evaluate("(l => [l.yaxis.type, l.xaxis.type])(document.querySelector('.chart').layout)")
    assert axes == ["log", "linear"]

    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    chart.locator(".scatterlayer .points path").first.hover(force=True)
    page.wait_for_selector(".hoverlayer .hovertext")
    assert "click: the runs" in page.locator(".hoverlayer").first.text_content()


@pytest.mark.parametrize("page", TWO, indirect=True)
def test_the_table_sorts_filters_and_searches_and_its_columns_are_chosen(page):
    table = "table[aria-label^='results of']"
    page.locator(f"{table} th[data-key=mean] button").click()
    means = page.locator(f"{table} tbody tr").evaluate_all(
        "rows => rows.map(row => Number(row.children[2].textContent))"
    )
    assert means == sorted(means, reverse=True)
    page.get_by_label("filter density").fill("<0.2")
    assert len(first_cells(page, table)) == 9
    page.get_by_label("search results of mlp on digits").fill("snip lr=0.1")
    assert first_cells(page, table) == ["snip lr=0.1"]
    page.get_by_role("button", name="show these in the figure").click()
    assert page.evaluate(TRACES) == 1
    page.locator(".columns summary").first.click()
    page.locator(".columns").first.get_by_label("multiply-adds").check()
    assert page.locator(f"{table} th[data-key=multiply_adds]").count() == 1


@pytest.mark.parametrize("page", TWO, indirect=True)
def test_the_runs_behind_a_point_are_one_click_or_one_key_away(page):
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    box = page.evaluate(
        "(c => { const b = c.getBoundingClientRect(), f = c._fullLayout;"
        " const t = c.data.find(t => t.meta && t.x.length === 3);"
        " return [b.x + f._size.l + f.xaxis.d2p(t.x[1]), b.y + f._size.t + f.yaxis.d2p(t.y[1])]; })"
        "(document.querySelector('.chart'))"
    )
    page.mouse.move(*box)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    dialog = page.locator("dialog[open]")
    dialog.wait_for()
    assert dialog.locator("[role=tab]").count() == 3
    assert "lth run method=" in dialog.locator(".copy pre").first.text_content()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.locator("table[aria-label^='runs of'] tbody tr").nth(1).focus()
    page.keyboard.press("Enter")
    dialog.wait_for()
    assert "recipe.lr" in dialog.text_content()


def test_a_served_page_shows_a_run_that_finishes_while_it_is_open(browser, tmp_path):
    write_run(tmp_path, "erk", seed=0)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.make([tmp_path], "test_accuracy")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.locator("#live", has_text="follows the runs").wait_for()
        page.select_option("select[data-key=xscale]", "linear")
        page.evaluate("document.activeElement.blur()")
        write_run(tmp_path, "snip", seed=0)
        server.make([tmp_path], "test_accuracy")
        page.locator(".legend button").nth(1).wait_for()
        assert page.locator("select[data-key=xscale]").input_value() == "linear"  # what the reader chose stays
        server.shutdown()
        page.close()
