"""The charts by themselves: what a live chart must keep (axes, zoom) and what it must follow (theme, width)."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from workbench.ui.shell import STATIC

PLOTLY = Path(find_spec("plotly").origin).parent / "package_data" / "plotly.min.js"
SHAPES = """
() => {
  const plot = document.querySelector(".wb-chart-plot"), full = plot._fullLayout;
  return {x: full.xaxis.range, y: full.yaxis.range, points: plot.data[1] ? plot.data[1].x.length : 0, height: full.height,
    labels: full.annotations.map((a) => a.text.replace(/<[^>]+>/g, "")), lines: full.shapes.length,
    colours: plot.data.map((d) => d.line && d.line.color), gaps: plot.data.map((d) => d.y.filter((v) => v === null).length),
    names: plot.getAttribute("aria-label")};
}
"""
LOSS = """
(n) => workbench.charts.draw(document.querySelector("#host"), {key: 1, title: "Loss", unit: "nats", xMax: 60,
  sentence: "It falls.", references: [{y: 0.69, label: "coin toss"}],
  series: [{model: "dpo", label: "", x: [...Array(n).keys()], y: [...Array(n).keys()].map((i) => (i === 5 ? null : 0.8 - i / 100))}]})
"""


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 800, "height": 700})
    opened = context.new_page()
    opened.set_default_timeout(120_000)
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.set_content('<body><div id="host" style="width: 420px"></div></body>')
    opened.add_style_tag(content="\n".join((STATIC / n).read_text() for n in ("tokens.css", "charts.css")))
    for file in (PLOTLY, STATIC / "shell.js", STATIC / "charts.js"):
        opened.add_script_tag(path=str(file))
    yield opened
    assert opened.errors == []
    context.close()


def drawn(page, n):
    page.evaluate(LOSS, n)
    page.wait_for_function("document.querySelector('.wb-chart-plot')._fullLayout !== undefined")
    return page.evaluate(SHAPES)


def test_axes_span_the_whole_run_and_grow_only_in_round_steps(page):
    first = drawn(page, 8)
    assert first["x"] == [0, 60]
    later = drawn(page, 61)
    assert later["x"] == [0, 60]
    low, high = later["y"]
    assert low == pytest.approx(0.2, abs=1e-9) and high == pytest.approx(0.8, abs=0.01)
    assert low <= first["y"][0] and high >= first["y"][1] - 0.02
    assert drawn(page, 8)["y"] == later["y"]  # and they never shrink back


def test_the_last_value_and_the_reference_are_named_and_a_bad_step_is_a_gap(page):
    shapes = drawn(page, 30)
    assert shapes["lines"] == 1 and shapes["labels"][1] == "coin toss"
    assert shapes["labels"][0].strip().startswith("0.5")
    assert shapes["gaps"][:2] == [1, 1]  # in the raw line and in the smoothed one
    assert shapes["names"].startswith("Loss, nats. 0.51 at step 29")


def test_a_zoom_survives_updates_and_a_double_click_takes_it_back(page):
    drawn(page, 20)
    box = page.locator(".wb-chart-plot").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 90, steps=6)
    drawn(page, 30)  # in the middle of the drag: held back, so that the selection is not torn away
    page.mouse.up()
    page.wait_for_selector("[data-zoomed=yes]")
    zoomed = page.evaluate(SHAPES)
    assert zoomed["x"][1] - zoomed["x"][0] < 40
    for n in (31, 45, 61):
        seen = drawn(page, n)
        assert (seen["x"], seen["y"], seen["points"]) == (zoomed["x"], zoomed["y"], n)
    page.mouse.dblclick(box["x"] + 120, box["y"] + 60)
    page.wait_for_function("!document.querySelector('[data-zoomed]')")
    page.wait_for_function("document.querySelector('.wb-chart-plot')._fullLayout.xaxis.range[1] === 60")


def test_colours_follow_the_theme_at_once(page):
    assert "#5E2D80" in drawn(page, 10)["colours"]
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function("document.querySelector('.wb-chart-plot').data[1].line.color === '#9C6AB4'")


def test_the_table_holds_every_value_with_a_real_minus(page):
    drawn(page, 3)
    page.evaluate(
        "workbench.charts.draw(document.querySelector('#host'), {key: 1, title: 'T', unit: 'u', series: [{model: 'sft', label: 'chosen', x: [0, 1], y: [-0.25, null]}]})"
    )
    page.locator("summary").click()
    page.wait_for_selector("table")
    assert page.locator("tbody tr").all_inner_texts() == ["0\t−0.25", "1\t–"]


def test_a_phone_gets_220_pixels_and_the_width_is_followed(page):
    assert drawn(page, 10)["height"] == 200
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.querySelector('#host').style.width = '300px'")
    page.wait_for_function("document.querySelector('.wb-chart-plot')._fullLayout.height === 220")
    page.wait_for_function("document.querySelector('.wb-chart-plot')._fullLayout.width === 300")


def test_another_run_starts_with_axes_of_its_own(page):
    drawn(page, 61)
    page.evaluate(
        "workbench.charts.draw(document.querySelector('#host'), {key: 2, title: 'T', unit: 'u', xMax: 10, series: [{model: 'sft', label: '', x: [0, 10], y: [100, 300]}]})"
    )
    shapes = page.evaluate(SHAPES)
    assert shapes["x"] == [0, 10] and shapes["y"][0] == 100


def test_labels_that_meet_at_the_right_do_not_cover_each_other(page):
    page.evaluate("""() => workbench.charts.draw(document.querySelector("#host"), {key: 3, title: "T", unit: "u", xMax: 1,
      references: [{y: 0.5, label: "guessing"}], series: [0.5, 0.51, 0.52].map((y, i) => ({model: "dpo", label: `run ${i}`, raw: false, x: [0, 1], y: [0, y]}))})""")
    page.wait_for_selector(".annotation-text")
    boxes = sorted((b.bounding_box() for b in page.locator(".annotation").all()), key=lambda b: b["y"])
    assert len(boxes) == 4
    assert all(a["y"] + 12 <= b["y"] for a, b in pairwise(boxes))


def test_a_histogram_is_drawn_in_steps_with_its_means_named(page):
    page.evaluate("""() => workbench.charts.draw(document.querySelector("#host"), {kind: "histogram", key: 1, title: "Length", unit: "% of answers",
      xTitle: "tokens", edges: [0, 10, 20, 30], digits: 0, series: [{model: "base", label: "Base", shares: [20, 50, 30], mean: 17},
      {model: "dpo", label: "DPO, run 7", shares: [60, 30, 10], mean: 9}]})""")
    page.wait_for_selector(".annotation-text")
    shapes = page.evaluate(SHAPES)
    assert sorted(shapes["labels"]) == ["17", "9"]
    data = page.evaluate("document.querySelector('.wb-chart-plot').data[0]")
    assert data["line"]["shape"] == "hv" and data["y"] == [0, 20, 50, 30, 30, 0]
    assert shapes["names"] == "Length, % of answers. Base: mean 17. DPO, run 7: mean 9"


def test_smoothing_starts_at_the_first_value_and_keeps_gaps(page):
    values = page.evaluate("workbench.charts.smooth([1, 2, null, 2])")
    # corrected for its start: (.8 * .2 * 1 + .2 * 2) / .36 = 1.5556; then (.8 * .56 + .2 * 2) / (.8 * .36 + .2) = 1.7377
    assert values[0] == 1 and values[2] is None
    assert values[1] == pytest.approx(0.56 / 0.36)
    assert values[3] == pytest.approx((0.8 * 0.56 + 0.4) / (0.8 * 0.36 + 0.2))


def test_numbers_are_written_with_a_real_minus_and_fitting_digits(page):
    texts = page.evaluate("[0, -0.4, 0.0312, 12.34, 345.6, -0.0001, null].map((v) => workbench.charts.number(v))")
    assert texts == ["0.00", "−0.40", "0.031", "12.3", "346", "−1.0e−4", "–"]
    assert page.evaluate("workbench.charts.number(-0.001, 2)") == "0.00"


def test_the_ends_of_several_lines_do_not_cover_each_other_while_live(page):
    page.evaluate("""() => workbench.charts.draw(document.querySelector("#host"), {key: 1, title: "Time", unit: "s", xMax: 100,
      series: ["generate", "score", "update"].map((label, nth) => ({model: "ppo", label, nth, raw: false, x: [0, 20], y: [1, 2 + nth / 100]}))})""")
    page.wait_for_selector(".annotation-text")
    boxes = page.locator(".annotation-text").evaluate_all(
        "nodes => nodes.map((n) => n.getBoundingClientRect()).map((b) => [b.top, b.bottom])"
    )
    assert len(boxes) == 3
    assert all(above[1] <= below[0] + 3 for above, below in pairwise(sorted(boxes)))  # the boxes' own line gap is 3 px
    dashes = page.evaluate(
        "document.querySelector('.wb-chart-plot').data.filter((d) => d.mode === 'lines').map((d) => d.line.dash)"
    )
    assert len(set(dashes)) == 3


def test_a_chart_out_of_sight_waits_and_is_up_to_date_when_it_comes_into_view(page):
    assert drawn(page, 10)["points"] == 10
    page.evaluate("document.querySelector('#host').style.marginTop = '3000px'")
    page.wait_for_timeout(200)
    assert drawn(page, 30)["points"] == 10
    assert "at step 29" in page.locator(".wb-chart-plot").get_attribute("aria-label")
    page.locator(".wb-chart-plot").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.wb-chart-plot').data[1].x.length === 30")
