"""The page in itself, and that all files say the same."""

import csv
import dataclasses
import html.parser
import json
import re

import pytest

from tfopt.compare.page import render_page

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Reader(html.parser.HTMLParser):
    """Collects what a browser would load, and checks that tags close."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.figures, self.text = [], set(), [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        attributes = dict(attributes)
        self.links += [
            attributes[name] for name in ("src", "href", "xlink:href", "data", "poster") if name in attributes
        ]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "figure":
            self.figures.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(finished):
    return (finished[1] / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_nothing_is_loaded_from_elsewhere(page, read):
    assert not {"script", "link", "iframe", "object", "embed"} & read.tags
    assert all(link.startswith(("#", "data:")) for link in read.links)
    assert all(target.startswith(("#", "data:")) for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_references_within_the_page_are_unique_and_hold(page, read):
    assert len(read.ids) == len(set(read.ids))
    wanted = {link[1:] for link in read.links} | set(re.findall(r"url\(#([^)]*)\)", page))
    assert wanted <= set(read.ids)


def test_every_optimizer_is_in_the_table_and_has_its_panels(finished, page, read):
    comparison, _ = finished
    text = "".join(read.text)
    for label in comparison.runs:
        assert label in text
        alternatives = [
            figure["aria-label"] for figure in read.figures if figure["aria-label"].startswith(label)
        ]
        assert len(alternatives) == 4 + 1 + 2


def test_every_figure_is_described_and_every_drawing_hidden(page, read):
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 20 for figure in read.figures)
    assert page.count("<svg") == page.count('aria-hidden="true"') == len(read.figures)


def test_colours_are_the_pages_own(page):
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "currentColor" in drawings
    assert "var(--series-0)" in drawings
    assert "prefers-color-scheme: dark" in page
    fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawings))
    assert not fixed


def test_runs_without_a_common_second_still_make_a_page(finished):
    comparison, _ = finished
    late = {label: [shifted(runs[0], 0.0), shifted(runs[1], 1e3)] for label, runs in comparison.runs.items()}
    assert "nothing that all seeds share" in render_page(dataclasses.replace(comparison, runs=late))


def shifted(run, seconds):
    points = tuple(dataclasses.replace(point, seconds=point.seconds + seconds) for point in run.points)
    return dataclasses.replace(run, points=points)


def test_names_are_escaped(finished):
    comparison, _ = finished
    facts = comparison.facts | {"machine": "<b>&"}
    text = render_page(dataclasses.replace(comparison, facts=facts))
    assert "<b>&" not in text
    assert "&lt;b&gt;&amp;" in text


def test_csv_json_and_the_object_agree(finished):
    comparison, folder = finished
    stored = json.loads((folder / "results.json").read_text())
    with open(folder / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["optimizer"] for line in lines] == [row.optimizer for row in comparison.rows]
    for line, entry, row in zip(lines, stored["leaderboard"], comparison.rows, strict=True):
        assert {key: "" if value is None else str(value) for key, value in entry.items()} == line
        assert entry == row.flat()
    assert len(stored["runs"]) == sum(map(len, comparison.runs.values()))
    by_hand = [
        run["points"]["validation_accuracy"][-1]
        for run in stored["runs"]
        if run["task"]["optimizer"] == "SGD"
    ]
    row = next(row for row in stored["leaderboard"] if row["optimizer"] == "SGD")
    assert row["final_accuracy_mean"] == pytest.approx(sum(by_hand) / len(by_hand))


def test_the_page_is_the_same_when_drawn_again(finished):
    comparison, folder = finished
    before = (folder / "index.html").read_text(encoding="utf-8")
    comparison.save(folder)
    assert (folder / "index.html").read_text(encoding="utf-8") == before
