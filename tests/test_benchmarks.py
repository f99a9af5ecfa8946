"""What the benchmarks compute from figures: medians, ratios, bounds, verdicts, tables and plots. Nothing is timed."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))  # at the end: their "tasks" is not ours

import figures
import guard
import plots

HERE = Path(__file__).parent.parent / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


def test_a_spread_is_the_median_and_the_extremes_of_the_rounds() -> None:
    assert figures.spread([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0)


@pytest.mark.parametrize(("better", "expected"), [("high", 0.5), ("low", 2.0)])
def test_a_ratio_above_one_is_in_our_favour_for_rates_and_for_times(better: str, expected: float) -> None:
    assert figures.ahead(1.0, 2.0, better) == expected


def test_a_ratio_is_taken_within_rounds_not_between_medians() -> None:
    ours, theirs = [1.0, 10.0, 100.0], [2.0, 10.0, 50.0]  # the machine was slow, then fast: both medians are 10
    assert figures.ratio(ours, theirs, "low") == (1.0, 0.5, 2.0)
    assert figures.ratio([1.0, 10.0, 100.0], [2.0, 30.0, 300.0], "low").median == 3.0


def test_rounds_that_do_not_pair_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        figures.ratio([1.0], [1.0, 2.0], "low")


def test_the_best_peer_has_the_best_median_and_not_the_best_round() -> None:
    rounds = {"steady": [5.0, 5.0, 5.0], "lucky": [1.0, 9.0, 9.0]}
    assert figures.best(rounds, "low") == "steady"
    assert figures.best(rounds, "high") == "lucky"
    assert figures.best({}, "high") is None


@pytest.mark.parametrize(
    ("seconds", "workers", "end"),
    [
        ([], 2, 0.0),
        ([1, 1, 1, 1], 2, 2.0),
        ([1, 1, 4], 2, 5.0),  # in this order: the long one is last, and waits for nobody to be cleverer
        ([4, 1, 1], 2, 4.0),
        ([3, 1, 1, 1], 1, 6.0),
        ([2, 2], 5, 2.0),
    ],
)
def test_list_scheduling_gives_each_task_to_the_worker_that_is_free_first(seconds: list[float], workers: int, end: float) -> None:
    assert figures.list_schedule(seconds, workers) == end


def test_a_ratio_falls_when_more_than_a_quarter_is_gone() -> None:
    found = guard.verdicts(
        {"steady": 4.0, "slower": 4.0, "better": 4.0}, {"steady": 3.0, "slower": 2.99, "better": 8.0, "new": 1.0}
    )
    assert [verdict.name for verdict in found if verdict.fell] == ["slower"]
    assert guard.told(found).endswith("slower than before: slower")
    assert guard.told(found[:1]).endswith("none fell by over 25%")


def test_the_committed_figures_are_those_that_the_guard_measures() -> None:
    import json

    assert set(json.loads(guard.FIGURES.read_text())) == set(guard.NAMES)
    assert len(guard.NAMES) == 6


def words(picture: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(picture).iter(f"{SVG}text")]


def inside(picture: str) -> bool:
    """Tell whether bars and lines are within the picture."""
    root = ET.fromstring(picture)
    width = float(root.attrib["width"])
    places = [float(element.attrib["x"]) for element in root.iter(f"{SVG}rect") if "x" in element.attrib]
    ends = [float(e.attrib["x"]) + float(e.attrib["width"]) for e in root.iter(f"{SVG}rect") if "x" in e.attrib]
    places += [float(value) for e in root.iter(f"{SVG}line") for value in (e.attrib["x1"], e.attrib["x2"])]
    return all(0 <= place <= width for place in places + ends)


def test_the_plot_of_ratios_is_well_formed_and_has_a_bar_for_each_workload() -> None:
    bars = [
        plots.Bar("a <burst> & more", figures.Spread(120.0, 90.0, 150.0), "120 x somebody", tuned=False),
        plots.Bar("the same", figures.Spread(0.03, 0.02, 0.04), "0.03 x nobody", tuned=True),
    ]
    picture = plots.ratios(bars)
    assert {"a <burst> & more", "120 x somebody", "0.03 x nobody", "1 x"} <= set(words(picture))
    kinds = [e.attrib["class"] for e in ET.fromstring(picture).iter(f"{SVG}rect") if e.attrib["class"] != "page"]
    assert kinds == ["ahead", "behind tuned"]
    assert inside(picture)
    assert "prefers-color-scheme: dark" in picture


def test_the_plot_of_growth_is_well_formed_with_one_line_for_each_contender() -> None:
    curves = {"poolbar": [(5e3, 6.0), (5e5, 7.0)], "loky": [(5e3, 90.0)]}
    picture = plots.growth([plots.Panel("submit", "tasks", curves), plots.Panel("map", "tasks", {"poolbar": [(5e3, 1.0)]})])
    assert {"poolbar", "loky", "5k", "500k"} <= set(words(picture))
    assert len(list(ET.fromstring(picture).iter(f"{SVG}polyline"))) == 3
    assert inside(picture)


def test_plots_of_nothing_are_well_formed_too() -> None:
    for picture in (plots.ratios([]), plots.growth([])):
        ET.fromstring(picture)


def results(**measured: Any) -> dict[str, Any]:
    machine = {
        "python": "3.11.7",
        "system": "Linux",
        "cpus": 2,
        "quick": False,
        "versions": {"loky": "3.7"},
        "absent": {},
        "others": 0.0,
    }
    return {"machine": machine, "workloads": measured, "claims": []}


def test_the_table_shows_who_failed_who_never_answers_and_ranks_the_others() -> None:
    import report

    first = {"poolbar": [1.0, 3.0], "Pool": [2.0, 6.0], "mpire": [4.0, 4.0], "stdlib fork": [None, None]}
    endless = {"figures": {"endless_first": first}, "errors": {"joblib": "wrong result"}, "curves": {}}
    row = next(line for line in report.in_markdown(results(endless=endless)).splitlines() if "first result" in line)
    assert "| Pool 4 | **2.00** (2.00 to 2.00) |" in row
    assert "mpire 4" in row
    assert "stdlib fork never" in row
    assert "joblib: wrong result" in row


def test_limits_and_threads_are_shown_beside_the_peers_and_not_ranked() -> None:
    import report

    trip = {"poolbar": [60.0], "loky": [200.0], "threads": [10.0], "limit": [5.0]}
    (row,) = report.lines(results(round_trip={"figures": {"round_trip": trip}, "errors": {}, "curves": {}}))
    assert row.peer == "loky"
    assert row.limit == ("raw pipe, there and back", 5.0)
    assert set(row.ahead) == {"loky"}


def test_each_figure_has_its_own_key_and_each_limit_a_workload() -> None:
    import catalogue
    import limits
    from contenders import CONTENDERS

    keys = [figure.key for workload in catalogue.WORKLOADS.values() for figure in workload.figures]
    assert len(keys) == len(set(keys))
    assert set(limits.LIMITS) <= set(catalogue.WORKLOADS)
    for workload in catalogue.WORKLOADS.values():
        assert workload.fits[0] == "poolbar"
        assert set(workload.fits) <= set(CONTENDERS)


def test_text_goes_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    import report

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    report.between(page, "table", "new")
    assert page.read_text(encoding="utf-8") == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n"
    with pytest.raises(ValueError, match="no marker"):
        report.between(page, "figures", "new")


def test_the_pages_have_the_markers_and_the_pictures() -> None:
    for page, marker, picture in (
        (HERE / "README.md", "table", "growth.svg"),
        (HERE.parent / "README.md", "figures", "ratios.svg"),
    ):
        text = page.read_text(encoding="utf-8")
        assert text.index(f"<!-- {marker} -->") < text.index(f"<!-- /{marker} -->")
        assert picture in text
        ET.parse(HERE / picture)
