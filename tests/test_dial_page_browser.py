"""The dial page moved in a real browser: what it shows is what the dial says."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import poise
from poise.engines.fake import HOSTILE, FakeEngine
from poise.pieces import Dials
from poise.spans import Cut
from test_dial_page import big_page, by_hand, page_of
from test_report_browser import CHROMIUM, DRIVER, WATCH, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
__all__ = ["chromium"]
Open = Callable[..., Any]
TEXTS = "return window.dial.texts()"


@pytest.fixture
def show(chromium: Any) -> Iterator[Open]:
    """Opens a page at a size, with a watch on everything that could break out of its place."""
    scripts: list[str] = []

    def opened(
        page: Path, width: int = 1280, height: int = 800, at: str = "", mobile: bool = False, dark: bool = False
    ) -> Any:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        added = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        scripts.append(added["identifier"])
        chromium.get("about:blank")
        chromium.get(f"{page.as_uri()}{at}")
        return chromium

    yield opened
    for identifier in scripts:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})


@pytest.fixture
def page(tmp_path: Path) -> tuple[Path, Dials]:
    return page_of(FakeEngine(), tmp_path, draws=4, max_tokens=24)


def move(browser: Any, value: float) -> list[str]:
    """Put the slider somewhere as a hand does, and read the texts."""
    browser.execute_script(
        "const s = document.getElementById('slider'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input', {bubbles: true})); window.dial.update();",
        value / 1.5,
    )
    return browser.execute_script(TEXTS)  # type: ignore[no-any-return]


def key(browser: Any, name: str) -> float:
    """Press a key on the slider; the value that it goes to."""
    return browser.execute_script(  # type: ignore[no-any-return]
        "document.getElementById('slider').dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}));"
        "window.dial.update(); return window.dial.value",
        name,
    )


def said(browser: Any, name: str) -> str:
    """The text of an element."""
    return browser.find_element("id", name).text  # type: ignore[no-any-return]


def wait(browser: Any, milliseconds: int) -> None:
    browser.execute_async_script("setTimeout(arguments[1], arguments[0])", milliseconds)


def test_moving_the_slider_shows_what_is_drawn_there(show: Open, page: tuple[Path, Dials]) -> None:
    path, dials = page
    browser = show(path)
    for value in (0.0, 0.05, 0.33, 0.71, 1.0, 1.234, 1.5):
        assert move(browser, value) == [d.at(value).text.lstrip(" ") for d in dials]
        distinct = len({d.at(value).token_ids for d in dials})
        assert f"{distinct} distinct text" in browser.find_element("id", "sentence").text
    shown = [e.text for e in browser.find_elements("css selector", ".draw p")]
    assert [" ".join(t.rstrip("…■").split()) for t in shown] == [" ".join(d.at(1.5).text.split()) for d in dials]
    assert browser.execute_script("return window.seen") == []
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def test_arrow_keys_step_from_change_to_change(show: Open, page: tuple[Path, Dials]) -> None:
    from selenium.webdriver.common.keys import Keys

    path, dials = page
    browser = show(path, at="#t=0")
    slider = browser.find_element("id", "slider")
    cuts = sorted({p.span.low for d in dials for p in d.pieces})
    browser.execute_script("window.dial.update()")
    before = browser.execute_script(TEXTS)
    for low in cuts[1:6]:
        slider.send_keys(Keys.ARROW_RIGHT)
        browser.execute_script("window.dial.update()")
        value = browser.execute_script("return window.dial.value")
        assert value > low.value
        now = browser.execute_script(TEXTS)
        assert now == [d.at(value).text.lstrip(" ") for d in dials]
        assert now != before
        before = now
    slider.send_keys(Keys.END)
    assert browser.execute_script("return window.dial.value") == 1.5
    slider.send_keys(Keys.HOME)
    assert browser.execute_script("return window.dial.value") == 0


def test_the_address_keeps_the_position(show: Open, page: tuple[Path, Dials]) -> None:
    path, dials = page
    browser = show(path, at="#t=0.61803")
    assert browser.execute_script("return window.dial.value") == 0.61803
    browser.execute_script("window.dial.update()")
    assert browser.execute_script(TEXTS) == [d.at(0.61803).text.lstrip(" ") for d in dials]
    move(browser, 1.2)
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert float(browser.current_url.partition("#t=")[2]) == pytest.approx(1.2)


def test_every_piece_is_reached_and_kept_however_narrow(show: Open, tmp_path: Path) -> None:
    """One number wide, from either side; the digits tell them apart, and two draws that change at once are named."""
    a, b = 0.3978921306295734, 0.7

    def after(v: float) -> float:
        return math.nextafter(v, 2)

    narrow = [Cut(0.0), Cut(0.0, True), Cut(a), Cut(after(a)), Cut(b, True), Cut(after(b), True), Cut(0.71), Cut(1.0)]
    browser = show(by_hand(tmp_path, "min_p", [narrow, [Cut(0.0), Cut(0.71), Cut(1.0)]], tokens=12))
    expected = [5e-324, a, after(a), after(b), after(after(b)), 0.71]
    reached = [browser.execute_script("return window.dial.value")] + [key(browser, "ArrowRight") for _ in expected]
    assert reached[0] == 0
    for low, value, high in zip(expected, reached[1:], [*expected[1:], 2], strict=True):
        assert low <= value < high
    assert key(browser, "ArrowRight") == reached[-1], "the last piece stays"
    wait(browser, 250)
    assert float(browser.current_url.partition("#t=")[2]) == reached[-1]
    assert [key(browser, "ArrowLeft") for _ in expected] == reached[-2::-1]
    for value in reached[1:]:
        browser.execute_script("window.dial.move(arguments[0], 'step'); window.dial.update()", value)
        wait(browser, 250)
        browser.refresh()
        assert browser.execute_script("return window.dial.value") == value, "the address keeps every digit"
    browser.execute_script("window.dial.move(arguments[0]); window.dial.update()", a)
    before, following = (e.text for e in browser.find_elements("css selector", "#changes li span"))
    assert before.startswith("Previous change: min_p just below 0.3978921306295734")
    assert following.startswith("Next change: min_p = 0.3978921306295735")
    assert said(browser, "value").startswith("min_p = 0.3978921306295734")
    browser.execute_script("window.dial.move(0.705); window.dial.update()")
    following = browser.find_elements("css selector", "#changes li span")[1].text
    assert following.endswith(", draw 1, and 1 other draw")
    assert said(browser, "value").startswith("min_p = 0.705"), "as many digits as it takes"
    browser.execute_script("window.dial.move(1); window.dial.update()")
    assert said(browser, "value").split(" · ")[0] == "min_p = 1"


def test_the_first_screen(show: Open, page: tuple[Path, Dials]) -> None:
    """It starts at the low end with a hint, fits, and has one axis; nothing moves but what is asked to."""
    path, _ = page
    browser = show(path)
    wait(browser, 250)
    assert browser.execute_script("return [window.dial.value, location.hash]") == [0, ""]
    assert said(browser, "value").startswith("T = 0 · repeats")
    assert said(browser, "hint") == "drag me →"
    assert said(browser, "sentence").startswith("At 0: 1 distinct text of 4; 4 of 4 loop, from word ")
    assert said(browser, "draw-1").startswith("draw 1 · loops from word ")
    boxes = "return arguments[0].map((s) => document.querySelector(s).getBoundingClientRect().toJSON())"
    slider, rail, folds = browser.execute_script(boxes, ["#slider", "#rail", "#more"])
    assert folds["bottom"] <= 800
    assert (rail["left"] - slider["left"], slider["right"] - rail["right"]) == (14, 14), "half a thumb"
    tops = [e.rect["y"] for e in browser.find_elements("css selector", "summary")]
    assert len({*tops}) == 1, "the folds stand in one row"
    for value in (0.1, 0.7123456, 1.4):
        move(browser, value)
        assert browser.execute_script(boxes, ["#slider", "#more"]) == [slider, folds]
    assert "alike for" in said(browser, "sentence") or "from the first word" in said(browser, "sentence")
    labels = [e.text for e in browser.find_elements("css selector", "#zones span")]
    assert all(a != b for a, b in itertools.pairwise(labels)), "neighbours of one name have one label"
    assert browser.find_elements("css selector", "#bars .chosen"), "what was drawn is marked"
    wait(browser, 500)
    assert said(browser, "value") in browser.execute_script("return document.getElementById('said').textContent")


def test_the_keyboard_keeps_its_place(show: Open, page: tuple[Path, Dials]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    path, _ = page
    browser = show(path, at="#t=0.9")
    ActionChains(browser).send_keys(Keys.TAB, Keys.ENTER).perform()
    wait(browser, 100)
    assert browser.current_url.endswith("#more")
    assert browser.execute_script("return [window.dial.value, document.activeElement.id]") == [0.9, "more"]
    focused = "const e = document.activeElement; return [e.textContent, e.getAttribute('aria-disabled')]"
    for selector, text in (("#changes li:last-child button", "go"), ("#next", "▶")):
        browser.execute_script("window.dial.move(0.9); document.querySelector(arguments[0]).focus()", selector)
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        browser.execute_script("window.dial.update()")
        assert browser.execute_script("return window.dial.value") > 0.9
        browser.execute_script("window.dial.move(1.49); window.dial.update()")
        browser.switch_to.active_element.send_keys(Keys.ENTER * 3)
        browser.execute_script("window.dial.update()")
        assert browser.execute_script(focused) == [text, "true"], "at the end it is still there"


def test_next_change_names_the_words_and_goes_there(show: Open, page: tuple[Path, Dials]) -> None:
    path, dials = page
    browser = show(path, at="#t=0.5")
    browser.execute_script("window.dial.update()")
    low = min(p.low for d in dials for p in d.pieces if p.low > 0.5)
    said = browser.find_elements("css selector", "#changes li")[1]
    assert said.text.startswith("Next change: T = ")
    said.find_element("tag name", "button").click()
    assert browser.execute_script("return window.dial.value") > low
    assert browser.find_elements("css selector", "#bars li"), "the next word's probabilities are shown"


def test_on_a_phone_the_slider_is_under_the_thumb(show: Open, page: tuple[Path, Dials]) -> None:
    path, _ = page
    browser = show(path, 390, 844, mobile=True)
    box = browser.execute_script("return document.getElementById('slider').getBoundingClientRect().toJSON()")
    assert box["top"] >= 844 - 150
    assert box["bottom"] <= 844
    assert box["height"] >= 44
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    shown = [e for e in browser.find_elements("css selector", ".draw") if e.is_displayed()]
    assert len(shown) == 1
    browser.find_element("id", "behind").click()
    assert browser.find_element("id", "which").text == "draw 2 of 4"
    assert not browser.find_element("id", "zones").is_displayed(), "value, zone and ends are one line"
    low, value = (browser.find_element("id", name).rect for name in ("low", "value"))
    assert low["y"] == value["y"]
    assert not browser.find_element("css selector", "#changes button").is_displayed()


def test_what_a_step_changes_is_in_sight(show: Open, tmp_path: Path) -> None:
    """On a phone its draw is turned to; the text is scrolled to where it departs from the one before."""
    draws = [[Cut(v) for v in cuts] for cuts in ([0.0, 0.5, 1.0, 1.5], [0.0, 0.75, 1.25, 1.5])]
    browser = show(by_hand(tmp_path, "temperature", draws), 390, 844, mobile=True)
    for draw in (1, 2, 1, 2):
        key(browser, "ArrowRight")
        assert said(browser, "which") == f"draw {draw} of 2"
        seen = browser.execute_script(
            "const p = document.querySelector('.chosen .text'), box = p.getBoundingClientRect();"
            "const fresh = p.querySelector('.fresh').getClientRects()[0];"
            "return fresh.top >= box.top && fresh.top + fresh.height <= box.bottom + 1"
        )
        assert seen
    wait(browser, 500)
    assert browser.execute_script("return document.querySelector('.chosen .text').tabIndex") == 0, "it scrolls"


def test_several_prompts_fit_a_phone(show: Open, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import Select

    engine = FakeEngine()
    asked = [f"{name} ship that sailed on and on for so long that nobody remembers" for name in ("a", "the", "no")]
    with poise.Study.open(tmp_path / "s.db") as study:
        dials = poise.dial(engine, asked, "temperature", 0, 1.5, draws=2, max_tokens=6, study=study, forks=True)
        path = poise.dial_report(study, dials, tmp_path / "several.html", engine=engine)
    browser = show(path, 390, 844, mobile=True, dark=True)
    assert browser.execute_script("return [document.documentElement.scrollWidth, location.hash]") == [390, ""]
    title = browser.title
    Select(browser.find_element("id", "prompt")).select_by_index(2)
    wait(browser, 250)
    assert browser.title != title
    assert browser.title.startswith("What does temperature do? no ship")
    assert browser.current_url.endswith("#t=0&p=3")
    browser.execute_script("document.getElementById('link').open = true")
    color = browser.find_element("id", "here").value_of_css_property("color")
    assert color == "rgba(99, 197, 207, 1)", "links can be read in the dark"


def test_folded_parts_open_and_draw(show: Open, page: tuple[Path, Dials]) -> None:
    path, dials = page
    browser = show(path, at="#t=0.5")
    for name in ("every", "curves", "made", "link"):
        browser.execute_script("document.getElementById(arguments[0]).open = true", name)
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert len(browser.find_elements("css selector", "#barcode canvas")) == len(dials)
    assert len(browser.find_elements("css selector", "#plots svg path.line")) == 3
    assert "--temperature 0..1.5" in browser.find_element("css selector", "#made code").text
    edges = (
        "return arguments[0].map((s) => document.querySelector(s).getBoundingClientRect()).map((r) => [r.x, r.right])"
    )
    axes = browser.execute_script(edges, ["#rail", "#barcode canvas", "#plots svg"])
    assert axes[0] == axes[1] == axes[2], "one axis from the slider to the curves"
    surprise = browser.find_elements("css selector", "figcaption .now")[2]
    before, line = surprise.text, browser.find_element("css selector", "#barcode .over i")
    assert before.startswith("At 0.50: ")
    assert "nats/token" in before
    here = line.rect["x"]
    move(browser, 1.0)
    assert surprise.text != before
    assert line.rect["x"] > here
    low = dials[1].pieces[3].low
    browser.execute_script(
        "const c = document.querySelectorAll('#barcode canvas')[1], r = c.getBoundingClientRect();"
        "const x = r.left + window.dial.place(arguments[0]) * r.width;"
        "c.dispatchEvent(new MouseEvent('click', {clientX: x, clientY: r.top + 5})); window.dial.update()",
        low,
    )
    following = min(p.low for d in dials for p in d.pieces if p.low > low)
    assert low <= browser.execute_script("return window.dial.value") <= following, "the stretch that the line begins"
    assert browser.execute_script("return window.seen") == []


def test_hostile_text_breaks_nothing(show: Open, tmp_path: Path) -> None:
    path, dials = page_of(FakeEngine(HOSTILE), tmp_path, draws=4, max_tokens=12)
    browser = show(path)
    for value in (0.1, 0.8, 1.4):
        move(browser, value)
    assert browser.execute_script("return window.seen") == []
    assert not browser.find_elements("css selector", ".draw img, .draw script")
    assert len(dials) == 4


def test_a_move_touches_as_much_among_two_thousand_pieces_as_among_few(
    show: Open, page: tuple[Path, Dials], tmp_path: Path
) -> None:
    """What a move costs in milliseconds is measured by `python -m bench.page`."""
    few, many = (touched(show(p)) for p in (page[0], big_page(tmp_path)))
    assert 0 < many <= 3 * few, "work grows with the pieces"


def touched(browser: Any) -> int:
    """Changes of the document in one move, median over 50."""
    counts = browser.execute_script(
        "const counts = []; const watch = new MutationObserver(() => {});"
        "watch.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});"
        "for (let i = 0; i < 50; i++) { window.dial.move(1.5 * ((i * 37) % 50) / 50, 'slider');"
        "window.dial.update(); counts.push(watch.takeRecords().length); } return counts;"
    )
    return int(statistics.median(counts))
