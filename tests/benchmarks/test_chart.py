import json
from xml.etree import ElementTree

import pytest

from tests.benchmarks.chart import draw_chart
from tests.benchmarks.harness import Report, write_reports

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def figures(tmp_path):
    job = Report(name="job", title="Job", columns={}, settings={"repeats": 3})
    job.add(
        {
            "bound": [{"images_per_s": 20.0, "of_bound": 1.0, "cpu_ms": 100.0}],
            "job, local disk": [{"images_per_s": 15.0, "of_bound": 0.75, "cpu_ms": 110.0}],
            "DataLoader": [{"images_per_s": 10.0, "of_bound": 0.5, "cpu_ms": 200.0}],
        }
    )
    service = Report(name="service", title="Service", columns={})
    service.add({"HAProxy, 32 callers": [{"per_s": 18.0, "of_bound": 0.9, "cpu_ms": 105.0}]})
    path = tmp_path / "figures.json"
    write_reports(path, [job, service])
    return path


def test_chart_has_a_bar_for_each_figure_and_as_long(figures, tmp_path):
    draw_chart(figures, tmp_path / "chart.svg")

    svg = ElementTree.parse(tmp_path / "chart.svg").getroot()
    bars = [rect for rect in svg.iter(f"{SVG}rect") if rect.get("class") != "ground"]
    lengths = [float(bar.get("width")) for bar in bars]
    assert [bar.get("class") for bar in bars] == ["bound", "ours", "others", "ours"] * 2
    assert [x / lengths[0] for x in lengths[:4]] == pytest.approx([1, 0.75, 0.5, 0.9], abs=0.001)
    assert [x / lengths[6] for x in lengths[4:]] == pytest.approx([0.5, 0.55, 1, 0.525], abs=0.001)


def test_chart_says_the_figures_and_the_machine(figures, tmp_path):
    draw_chart(figures, tmp_path / "chart.svg")

    svg = ElementTree.parse(tmp_path / "chart.svg").getroot()
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert "75%, 15.0/s" in texts
    assert "200 ms" in texts
    assert json.loads(figures.read_text())["job"]["machine"]["cpu"] in texts[-1]
    assert "medians of 3" in texts[-1]


def test_chart_without_the_job_says_so(tmp_path):
    figures = tmp_path / "figures.json"
    figures.write_text("{}")

    with pytest.raises(ValueError, match="no figures of the job"):
        draw_chart(figures, tmp_path / "chart.svg")
