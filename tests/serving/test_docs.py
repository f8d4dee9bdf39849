"""`/docs`: its examples run, and it renders in a real browser that reaches no other host."""

import json
import re
import subprocess

import httpx
import pytest
from playwright.sync_api import sync_playwright

from serving.http.schemas import DESCRIPTION
from tests.support.browsing import CHROMIUM
from tests.support.images import encode, photo

pytestmark = pytest.mark.ray

EXAMPLES = [line.strip() for line in DESCRIPTION.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda line: line.split(" ")[-1])
def test_example_runs_as_it_is(service, tmp_path, example):
    (tmp_path / "photo.jpg").write_bytes(encode(photo(320, 240), "JPEG"))
    (tmp_path / "scan.png").write_bytes(encode(photo(200, 300), "PNG"))
    line = example.replace("http://127.0.0.1:8000", service.url)

    said = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    ).stdout

    answer = json.loads(said)
    assert "error" not in answer
    assert {"predictions", "outputs"} & set(answer)


def test_examples_are_those_of_the_service(service):
    described = httpx.get(f"{service.url}/openapi.json").json()["info"]["description"]

    assert len(EXAMPLES) == 4
    assert all(line in described for line in EXAMPLES)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_page_renders_without_another_host(service, tmp_path):
    asked, said = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1600})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        page.goto(f"{service.url}/docs")
        page.get_by_text("/v1/classify").first.wait_for()
        page.locator("#operations-labelmill-classify_v1_classify_post").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_text("Execute").wait_for()
        page.screenshot(path=tmp_path / "docs.png")
        browser.close()

    assert [url for url in asked if not re.match(rf"{service.url}/|data:|blob:", url)] == []
    assert [text for kind, text in said if kind in {"error", "warning"}] == []
