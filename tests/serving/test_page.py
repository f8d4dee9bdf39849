"""The page at `/`, in a real Chromium, against a real service."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browsing import (
    CHROMIUM,
    LOW_CONTRAST,
    an_answer,
    classify,
    drop,
    nameless,
    to_percents,
)
from tests.support.images import encode, photo, png, png_header
from tests.support.tiffs import tiff

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")

PAGE = Path(__file__).parents[2] / "serving" / "page"
CLASSIFY = "**/v1/classify*"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        yield running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def page_url(service) -> str:
    return service.url


@pytest.fixture
def page(browser, page_url) -> Iterator["playwright.Page"]:
    """The page, opened; afterwards: it asked no other host and nothing went wrong in it."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(15_000)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(page_url)
    page.locator("#status:not(:empty)").wait_for()
    yield page
    context.close()
    assert not [url for url in asked if not url.startswith((page_url, "blob:", "data:"))]
    assert not [text for text in wrong if not text.startswith("Failed to load resource")]


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(photo(320, 240, seed=1), "JPEG"))
    return path


def finished(page, count: int = 1):
    """Return the cards when all of them have an outcome."""
    page.locator(".card").nth(count - 1).wait_for()
    page.locator(".card.busy").first.wait_for(state="detached")
    assert page.locator(".card").count() == count
    return page.locator(".card")


def percents(card) -> list[tuple[str, float]]:
    names = card.locator(".labels .label").all_inner_texts()
    scores = [text.strip("<% ") for text in card.locator(".labels .score").all_inner_texts()]
    return list(zip(names, map(float, scores), strict=True))


def agree(shown: list[tuple[str, float]], told: list[tuple[str, float]]) -> bool:
    return [name for name, _ in shown] == [name for name, _ in told] and all(
        abs(one - other) < 0.11 for (_, one), (_, other) in zip(shown, told, strict=True)
    )


# --- Images in, labels out ------------------------------------------------------------------------


def test_chosen_file_shows_what_the_service_says_and_what_it_cost(page, page_url, picture):
    page.set_input_files("#files", picture)
    card = finished(page)

    assert agree(percents(card), classify(page_url, picture))
    assert card.locator(".meta").inner_text().startswith("320 \N{MULTIPLICATION SIGN} 240")
    terms = card.locator("dt").all_inner_texts()
    assert terms == ["decode", "queue", "forward", "round trip", "batch"]
    *times, batch = card.locator("dd").all_inner_texts()
    assert all(re.fullmatch(r"[\d.]+ ms", text) for text in times)
    assert int(batch) >= 1
    bar = card.locator(".bar").first.bounding_box()["width"]
    filled = card.locator(".bar i").first.bounding_box()["width"]
    assert filled / bar * 100 == pytest.approx(percents(card)[0][1], abs=1)


def test_files_can_be_dropped_anywhere(page, page_url, picture, sample_photos):
    drop(page, 700, 600, [picture, sample_photos[0]])
    cards = finished(page, 2)

    assert cards.locator("h3").all_inner_texts() == [picture.name, sample_photos[0].name]
    assert agree(percents(cards.first), classify(page_url, picture))
    assert page.url.rstrip("/") == page_url


def test_image_can_be_pasted(page):
    page.evaluate("""async () => {
      const canvas = new OffscreenCanvas(64, 48);
      canvas.getContext("2d").fillRect(8, 8, 20, 20);
      const blob = await canvas.convertToBlob({ type: "image/png" });
      await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    }""")
    page.keyboard.press("Control+V")

    assert finished(page).locator(".meta").inner_text().startswith("64 \N{MULTIPLICATION SIGN} 48")


def test_file_that_the_browser_cannot_preview_is_labelled(page, page_url, tmp_path):
    scan = tmp_path / "scan.tiff"
    scan.write_bytes(tiff(photo(60, 40), 2))
    page.set_input_files("#files", scan)
    card = finished(page)

    assert card.locator(".placeholder").is_visible()
    assert agree(percents(card), classify(page_url, scan))


def test_number_of_labels_can_be_changed_afterwards(page, page_url, picture):
    page.set_input_files("#files", picture)
    finished(page)
    page.select_option("#top-k", "10")
    page.locator(".labels li").nth(9).wait_for()

    assert agree(percents(finished(page)), classify(page_url, picture, top_k=10))


def test_model_can_be_chosen_where_there_are_several(page, picture):
    models = [
        {"name": name, "version": "1", "weights_sha256": weights, "classes": 3}
        for name, weights in (("cats & dogs", "untrained:0"), ("birds", "ab" * 32))
    ]
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": models}))
    page.route(CLASSIFY, lambda route: route.fulfill(json=an_answer()))
    page.reload()
    page.locator("#model").wait_for()
    assert "mean nothing" in page.locator("#untrained").inner_text()

    page.set_input_files("#files", picture)
    finished(page)
    with page.expect_request(CLASSIFY) as request:
        page.select_option("#model", "birds")
    assert request.value.url.endswith("?top_k=3&model=birds")
    assert not page.locator("#untrained").is_visible()
    with page.expect_request(CLASSIFY) as request:
        page.select_option("#model", "cats & dogs")
    assert request.value.url.endswith("&model=cats%20%26%20dogs")


def test_many_images_are_sent_four_at_a_time_and_two_hundred_shown(page):
    waiting, most, seen = [], 0, 0

    def answer_late(route):
        nonlocal most, seen
        waiting.append(route)
        most, seen = max(most, len(waiting)), seen + 1
        if len(waiting) == 4 or seen > 196:
            while waiting:
                waiting.pop().fulfill(json=an_answer())

    page.route(CLASSIFY, answer_late)
    names = [f"{i}.png" for i in range(210)]
    files = [{"name": name, "mimeType": "image/png", "buffer": name.encode()} for name in names]
    page.set_input_files("#files", files)

    assert finished(page, 200).locator("h3").all_inner_texts() == names[:200]
    assert most == 4
    assert "10 images left out" in page.locator("#left-out").inner_text()
    assert "200 images, 200 labelled" in page.locator("#summary").inner_text()


def test_removing_an_image_cancels_its_request(page, picture):
    page.route(CLASSIFY, lambda route: None)
    page.set_input_files("#files", picture)
    with page.expect_event("requestfailed") as request:
        page.get_by_role("button", name="Remove picture.jpg").click()

    assert "/v1/classify" in request.value.url
    assert page.locator(".card").count() == 0


# --- What goes wrong ------------------------------------------------------------------------------


def too_many_pixels() -> bytes:
    small = png(photo(8, 8), 8, 2)
    return png_header(16_000, 16_000) + small[len(png_header(8, 8)) :]


BAD = {
    "large.png": (too_many_pixels, "too large", "16000 x 16000"),
    "notes.txt": (lambda: b"hello", "does not accept this kind of file", "text/plain"),
    "broken.jpg": (lambda: b"\xff\xd8\xff no more", "cannot be read as an image", "JPEG"),
    "empty.jpg": (lambda: b"", "is empty", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_fails_alone_and_says_why(page, picture, tmp_path, name):
    build, words, detail = BAD[name]
    (tmp_path / name).write_bytes(build())
    page.set_input_files("#files", [picture, tmp_path / name])
    good, bad = finished(page, 2).all()

    assert len(percents(good)) == 5
    assert words in bad.locator(".state").inner_text()
    assert detail in bad.locator(".detail").text_content()
    assert not bad.locator(".retry").is_visible()
    assert page.locator("#summary").inner_text() == "2 images, 1 labelled, 1 failed"


def test_busy_service_is_asked_again_when_it_said(page, picture):
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "overloaded"}}
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.route(CLASSIFY, lambda route: route.fulfill(**busy), times=1)
    page.set_input_files("#files", picture)
    card = finished(page)
    said = card.locator(".state").inner_text()
    assert said == "The service is busy and asks you to wait 1 second."

    card.locator(".retry").click()
    page.clock.run_for(990)
    assert card.locator(".state").inner_text() == "Waiting 1 second, as the service asked…"
    with page.expect_request(CLASSIFY):
        page.clock.run_for(20)
    assert len(percents(finished(page))) == 5
    assert not card.locator(".state").is_visible()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 503, "json": {"error": "the model is not loaded"}}, "not ready"),
        ({"status": 504, "json": {"error": "deadline"}}, "took too long"),
        ({"status": 502, "body": "<h1>Bad gateway</h1>"}, "Something went wrong"),
        ({"status": 200, "body": "<h1>Log in to the WiFi</h1>"}, "does not understand"),
        (None, "cannot be reached"),
    ],
)
def test_trouble_is_told_in_words(page, picture, answer, words):
    page.route(CLASSIFY, lambda route: route.fulfill(**answer) if answer else route.abort())
    page.set_input_files("#files", picture)
    card = finished(page)

    assert words in card.locator(".state").inner_text()
    assert "<h1>" not in card.inner_text()
    assert card.locator(".retry").is_visible() == (answer is None or answer["status"] != 200)


def test_file_that_went_away_is_not_blamed_on_the_network(page, picture):
    page.set_input_files("#files", picture)
    finished(page)
    picture.unlink()
    page.select_option("#top-k", "1")
    page.locator(".state.error").wait_for()

    assert "Choose it again" in page.locator(".state").inner_text()


def test_strangers_text_stays_text(page):
    hostile = "<img src=x onerror=document.title='owned'>.jpg"
    page.route(CLASSIFY, lambda route: route.fulfill(json=an_answer(hostile)))
    page.set_input_files("#files", {"name": hostile, "mimeType": "image/jpeg", "buffer": b"x"})
    card = finished(page)

    assert card.locator("h3").inner_text() == hostile
    assert percents(card) == [(hostile, 50.0)]
    assert page.locator("img").count() == 1
    assert page.title() == "labelmill"


# --- Token ----------------------------------------------------------------------------------------


def guard(page, token: str) -> None:
    """Let the service want a token."""

    def check(route):
        if route.request.headers.get("authorization") == f"Bearer {token}":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": "unauthorized"})

    page.route(CLASSIFY, check)


def test_token_is_asked_for_once_and_kept_in_the_tab(page, picture, sample_photos):
    guard(page, "s3cret")
    page.set_input_files("#files", [picture, *sample_photos[:2]])
    page.get_by_role("dialog").wait_for()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("did not accept that token").wait_for()
    page.keyboard.type(" s3cret ")
    page.keyboard.press("Enter")

    assert all(len(percents(card)) == 5 for card in finished(page, 3).all())
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    page.set_input_files("#files", picture)
    assert len(percents(finished(page))) == 5
    page.get_by_role("button", name="Copy curl").click()
    assert ' -H "Authorization: Bearer $TOKEN" ' in page.locator(".curl").inner_text()
    assert "s3cret" not in page.locator("body").inner_text()


def test_token_may_be_given_later(page, picture):
    guard(page, "s3cret")
    page.set_input_files("#files", [picture] * 6)
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")  # once, however many images wait
    for card in finished(page, 6).all():
        assert "needs a token" in card.locator(".state").inner_text()

    page.locator(".retry").last.click()
    page.get_by_role("dialog").wait_for()
    page.keyboard.type("s3cret")
    page.keyboard.press("Enter")
    page.locator(".labels li").nth(29).wait_for()
    assert page.locator("#summary").inner_text() == "6 images, 6 labelled"


def test_token_is_asked_for_once_though_refusals_come_late(page, picture):
    late = []

    def hold(route):
        late.append(route)

    page.route(CLASSIFY, hold)
    page.set_input_files("#files", [picture] * 3)
    while len(late) < 3:
        page.wait_for_timeout(20)

    late.pop().fulfill(status=401, json={"error": "unauthorized"})
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    while late:
        late.pop().fulfill(status=401, json={"error": "unauthorized"})

    for card in finished(page, 3).all():
        assert "needs a token" in card.locator(".state").inner_text()


# --- curl -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "cat.jpg",
        'it\'s $(touch owned) `touch owned` "so" \\ ; & | * ~ !!.jpg',
        "-",
        "-rf @x",
        "naïve 猫 👩‍🚀.jpg",
        "new\nline \x1b[31m tab\t' \\.jpg",
    ],
)
def test_copied_curl_line_gives_the_same_labels(page, picture, name):
    picture.rename(picture.with_name(name))
    page.set_input_files("#files", picture.with_name(name))
    shown = percents(finished(page))
    page.locator(".copy").click()
    page.locator(".copy", has_text="Copied").wait_for()
    line = page.evaluate("navigator.clipboard.readText()")

    assert line.startswith("curl --data-binary ")
    assert not re.search(r"[\x00-\x1f\x7f]", line)
    run = subprocess.run(
        ["bash", "-c", line], cwd=picture.parent, capture_output=True, check=True, timeout=30
    )
    assert agree(shown, to_percents(json.loads(run.stdout)))
    assert os.listdir(picture.parent) == [name]


# --- For everyone ---------------------------------------------------------------------------------


def test_keyboard_is_enough(page, picture):
    page.on("filechooser", lambda _: None)  # from here on the browser hands its dialog to us
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    assert outline(page, "#files + label") > 0
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([picture, picture])
    finished(page, 2)

    seen = []
    for _ in range(6):
        page.keyboard.press("Tab")
        assert outline(page, ":focus") > 0
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert seen == ["top-k", "clear", "remove", "copy", "remove", "copy"]


def outline(page, selector: str) -> float:
    style = page.locator(selector).evaluate("(element) => getComputedStyle(element).outline")
    return 0 if "none" in style else float(re.search(r"([\d.]+)px", style)[1])


def test_focus_goes_to_the_next_image_when_one_is_removed(page, picture):
    page.set_input_files("#files", [picture, picture])
    finished(page, 2)
    page.locator(".remove").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "remove"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "files"


def test_results_are_announced(page, picture):
    live = page.locator("[aria-live=polite]")
    page.set_input_files("#files", picture)
    name, score = percents(finished(page))[0]
    page.get_by_role("status").get_by_text("picture.jpg: ").wait_for()
    assert live.inner_text() == f"picture.jpg: {name}, {score:.1f}%."

    page.set_input_files("#files", [picture] * 3)
    page.get_by_role("status").get_by_text("4 images, 4 labelled").wait_for()


def test_everything_has_a_name_and_a_place(page, picture, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no")
    page.set_input_files("#files", [picture, tmp_path / "broken.jpg"])
    finished(page, 2)

    assert nameless(page) == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("html[lang=en] main h1").count() == 1
    for name in ("banner", "main"):
        assert page.get_by_role(name).count() == 1
    page.evaluate("document.querySelector('dialog').showModal()")
    assert nameless(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(page, picture, tmp_path, scheme):
    page.emulate_media(color_scheme=scheme)
    (tmp_path / "broken.jpg").write_bytes(b"no")
    page.set_input_files("#files", [picture, tmp_path / "broken.jpg"])
    finished(page, 2)
    page.locator(".copy").first.click()
    page.mouse.move(0, 0)

    assert page.evaluate(LOW_CONTRAST) == []
    page.evaluate("document.querySelector('dialog').showModal()")
    assert page.evaluate(LOW_CONTRAST) == []
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", back)[0]) > 128) == (scheme == "light")


def test_phone_needs_no_sideways_scrolling(page, tmp_path):
    page.set_viewport_size({"width": 360, "height": 640})
    long = "unbroken" * 12
    page.route(CLASSIFY, lambda route: route.fulfill(json=an_answer(long)), times=1)
    page.set_input_files("#files", {"name": long, "mimeType": "image/png", "buffer": b"x"})
    finished(page)
    (tmp_path / "broken.jpg").write_bytes(b"no")
    page.set_input_files("#files", tmp_path / "broken.jpg")
    finished(page, 2)
    for button in page.locator(".copy").all():
        button.click()

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.evaluate("document.querySelector('dialog').showModal()")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_nothing_moves_for_those_who_ask_for_it(page, picture):
    page.route(CLASSIFY, lambda route: None)
    page.set_input_files("#files", picture)
    moving = "(element) => getComputedStyle(element).animationName"
    assert page.locator(".busy .preview").evaluate(moving) == "breathe"
    page.emulate_media(reduced_motion="reduce")
    assert page.locator(".busy .preview").evaluate(moving) == "none"


def test_page_runs_under_a_strict_policy_and_is_small(page, page_url):
    policy = page.request.get(page_url).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    files = ("index.html", "style.css", "app.js")
    assert sum((PAGE / name).stat().st_size for name in files) < 25 * 1024
