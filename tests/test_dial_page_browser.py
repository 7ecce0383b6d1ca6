"""The dial page moved in a real browser: what it shows is what the dial says."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poise.engines.fake import HOSTILE, FakeEngine
from poise.pieces import Dials
from test_dial_page import big_page, page_of
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

    def opened(page: Path, width: int = 1280, height: int = 800, at: str = "", mobile: bool = False) -> Any:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
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


def test_folded_parts_open_and_draw(show: Open, page: tuple[Path, Dials]) -> None:
    path, dials = page
    browser = show(path)
    for name in ("every", "curves", "made", "link"):
        browser.execute_script("document.getElementById(arguments[0]).open = true", name)
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert len(browser.find_elements("css selector", "#barcode canvas")) == len(dials)
    assert len(browser.find_elements("css selector", "#plots svg path.line")) == 3
    assert "--temperature 0..1.5" in browser.find_element("css selector", "#made code").text
    assert browser.execute_script("return window.seen") == []


def test_hostile_text_breaks_nothing(show: Open, tmp_path: Path) -> None:
    path, dials = page_of(FakeEngine(HOSTILE), tmp_path, draws=4, max_tokens=12)
    browser = show(path)
    for value in (0.1, 0.8, 1.4):
        move(browser, value)
    assert browser.execute_script("return window.seen") == []
    assert not browser.find_elements("css selector", ".draw img, .draw script")
    assert len(dials) == 4


def test_two_thousand_pieces_move_at_sixty_frames(show: Open, tmp_path: Path) -> None:
    """The work of one move, median over 200, leaves a frame of 16 ms half free."""
    browser = show(big_page(tmp_path))
    times = browser.execute_script(
        "const t = []; for (let i = 0; i < 200; i++) { window.dial.move(1.5 * ((i * 37) % 200) / 200, 'slider');"
        "const a = performance.now(); window.dial.update(); document.body.offsetHeight;"
        "t.push(performance.now() - a); }"
        "return t;"
    )
    assert statistics.median(times) < 8
