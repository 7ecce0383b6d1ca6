"""The page in a real browser: hostile text stays text, charts draw without eval, everybody can read it."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import poise
from poise.engines.fake import FakeEngine
from poise.records import Prompt

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

Open = Callable[..., Any]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,800",
)  # fmt: skip
# Runs before anything in the page: what breaks out of its place shows here.
WATCH = """
window.seen = [];
for (const name of ["alert", "confirm", "prompt"]) window[name] = () => seen.push(name);
document.addEventListener("securitypolicyviolation", (e) => seen.push(e.violatedDirective + " " + e.blockedURI));
window.addEventListener("error", (e) => seen.push("error " + e.message));
"""
PENDING = (
    "return [...document.querySelectorAll('.chart')]"
    ".filter((c) => !c.closest('details:not([open])') && !c.dataset.drawn).length"
)
DRAWN = "return [...document.querySelectorAll('.chart')].map((c) => c.dataset.drawn)"
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ATTACK = (
    "<script>alert(1)</script><img src=x onerror=alert(2)></details></section></main></body><svg onload=alert(3)>"
    "{{ 7 * 7 }}{% raw %}<!-- <style>*{display:none}</style> \x1b[2J\x1b[31m \u202eright to left\u202c "
    "\u2028 &lt; \" ' `"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    yield browser
    browser.quit()


@pytest.fixture
def show(chromium: Any) -> Open:
    """Open a page at a width, and wait until what is open has its charts."""

    def opened(page: Path, width: int = 1280, dark: bool = False) -> Any:
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        chromium.get_log("browser"), chromium.get_log("performance")
        chromium.get(page.resolve().as_uri())
        wait_for_charts(chromium)
        return chromium

    return opened


def wait_for_charts(browser: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while browser.execute_script(PENDING) and time.monotonic() < end:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two use cases of ten prompts at the article's temperatures."""
    folder = tmp_path_factory.mktemp("plain")
    settings = poise.grid(temperature=[0.2, 0.5, 0.7, 0.9])
    for name in ("creative-story", "technical-explanation"):
        prompts = [Prompt("go " * (i + 1), use_case=name) for i in range(10)]
        study = poise.sweep(poise.load("fake"), prompts, settings, study=folder / "study.db", draws=3, max_tokens=40)
    return poise.report(study, folder / "report.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, prompts, a use case and stop strings that all attack."""
    folder = tmp_path_factory.mktemp("hostile")
    engine = poise.load("fake:hostile")
    engine.name = f"fake {ATTACK}"
    prompts = [Prompt(ATTACK + " go" * i, use_case=f"case {ATTACK}") for i in range(3)]
    settings = poise.grid(temperature=[0.5, 1.5])
    study = poise.sweep(
        engine, prompts, settings, study=folder / "study.db", draws=8, max_tokens=60, stop=["</p>\u202e"]
    )
    study.keep_goal(f"case {ATTACK}", poise.read_goal({"raise": "length", "constraints": ["loop_rate <= 1"]}))
    return poise.report(study, folder / "report.html")


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two use cases with a goal, of 16 prompts and of 10, whose verdicts recommend other settings than the baseline."""
    folder = tmp_path_factory.mktemp("decided")
    settings = poise.grid(temperature=[0.3, 1.2], top_p=[0.8, None])
    cases = [
        poise.UseCase(
            name=name,
            mode="text",
            prompts=[f"{word} " * (i + 1) for i in range(n)],
            goal={"raise": "nll", "matters": 0.1, "baseline": "greedy"},
        )
        for name, word, n in (("wide", "go", 16), ("narrow", "ship", 10))
    ]
    study = poise.sweep(poise.load("fake"), cases, settings, study=folder / "study.db", draws=1, max_tokens=40)
    return poise.report(study, folder / "report.html")


def test_hostile_text_stays_text(hostile: Path, show: Open) -> None:
    browser = show(hostile)
    assert browser.execute_script("return seen") == []
    counts = browser.execute_script(
        "return ['img', 'svg[onload]', 'style', 'script:not([type])', 'main', 'iframe']"
        ".map((q) => document.querySelectorAll(q).length)"
    )
    assert counts == [0, 0, 1, 1, 1, 0]
    text = browser.execute_script("return document.body.innerText")
    for said in ("<script>alert(1)</script>", "{{ 7 * 7 }}", "␛[2J", "⟦RLO⟧right to left⟦PDF⟧", "⟦LS⟧", "&lt;"):
        assert said in text


def test_hostile_text_turns_nothing_around(hostile: Path, show: Open) -> None:
    browser = show(hostile)
    page = browser.execute_script("return document.documentElement.outerHTML")
    assert not set(BIDI) & set(page)
    assert "\x1b" not in page
    assert browser.execute_script("return getComputedStyle(document.body).direction") == "ltr"
    left, right = browser.execute_script(
        "const box = document.querySelector('h1 bdi').getClientRects()[0]; return [box.left, innerWidth - box.right]"
    )
    assert left < 100 < right + 100


def test_a_text_from_right_to_left_is_set_so_inside_its_own_box(tmp_path: Path, show: Open) -> None:
    words = ("", " مرحبا", " بالعالم", " سفينة")
    study = poise.sweep(
        FakeEngine(words), "go", poise.grid(temperature=[0.5, 1]), study=tmp_path / "s.db", draws=2, max_tokens=20
    )
    browser = show(poise.report(study, tmp_path / "report.html"))
    directions = "return [...document.querySelectorAll(arguments[0])].map((e) => getComputedStyle(e).direction)"
    assert set(browser.execute_script(directions, "div.text")) == {"rtl"}
    assert set(browser.execute_script(directions, ".columns, h2, table, main")) == {"ltr"}


def test_every_chart_draws_under_the_policy_without_a_network(plain: Path, show: Open) -> None:
    browser = show(plain)
    open_all(browser)
    drawn = browser.execute_script(DRAWN)
    assert len(drawn) >= 20
    assert set(drawn) == {"yes"}
    assert browser.execute_script("return document.querySelectorAll('.chart svg path').length") > 100
    assert browser.execute_script("return seen") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert len([url for url in asked if url.startswith("file:")]) == 1


def test_the_policy_is_what_stops_code(plain: Path, tmp_path: Path, show: Open) -> None:
    """The test's own check: code that was not in the page when it was made does not run."""
    text = plain.read_text(encoding="utf-8")
    added = tmp_path / "added.html"
    added.write_text(text.replace("</main>", "<script>window.broken = 1</script></main>", 1), encoding="utf-8")
    browser = show(added)
    assert browser.execute_script("return window.broken") is None
    assert any("script-src" in said for said in browser.execute_script("return seen"))
    without = tmp_path / "without.html"
    head, meta, rest = text.partition('<meta http-equiv="Content-Security-Policy"')
    without.write_text((head + rest.partition(">")[2]).replace("</main>", "<script>window.broken = 1</script></main>"))
    assert meta
    assert show(without).execute_script("return window.broken") == 1


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing_serious(plain: Path, hostile: Path, show: Open, width: int, dark: bool) -> None:
    import selenium_axe_python

    axe = (Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    for page in (plain, hostile):  # the hostile one has a verdict too
        browser = show(page, width, dark)
        open_all(browser)
        browser.execute_script(axe)
        found = browser.execute_async_script("axe.run().then(arguments[0], (e) => arguments[0](String(e)))")
        assert isinstance(found, dict), found
        assert len(found["passes"]) > 20
        assert [(v["impact"], v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []


def test_the_page_fits_a_phone(plain: Path, hostile: Path, decided: Path, show: Open) -> None:
    for page in (plain, hostile, decided):
        browser = show(page, 390)
        open_all(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        sizes = browser.execute_script(
            "return [...document.querySelectorAll('p, li, td, summary, .text')]"
            ".map((e) => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 12


def test_the_keyboard_reaches_everything_in_order(plain: Path, show: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = show(plain)
    body = browser.find_element("tag name", "body")
    body.send_keys(Keys.TAB)
    active = browser.switch_to.active_element
    assert active.text == "Skip to what was found"
    assert active.location["x"] >= 0
    active.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.id") == "main"
    places, kinds = [], set()
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        place, kind, outline = browser.execute_script(
            "const e = document.activeElement, b = e.getBoundingClientRect(), s = getComputedStyle(e);"
            "return [b.top + scrollY, e.localName, s.outlineStyle + parseFloat(s.outlineWidth)]"
        )
        assert outline == "solid3", kind
        places.append(place)
        kinds.add(kind)
    assert all(a <= b + 1 for a, b in itertools.pairwise(places)), "focus goes down the page"
    assert {"a", "div"} <= kinds
    summary = browser.find_elements("css selector", "details:not([open]) > summary")[0]
    summary.send_keys(Keys.ENTER)
    assert browser.execute_script("return arguments[0].parentElement.open", summary)


def test_a_click_on_a_point_leads_to_its_texts(plain: Path, show: Open) -> None:
    browser = show(plain)
    browser.execute_script("document.querySelector('.chart').scrollIntoView({block: 'center', behavior: 'instant'})")
    points = browser.find_elements("css selector", ".chart")[0].find_elements("css selector", ".mark-symbol path")
    from selenium.webdriver import ActionChains

    ActionChains(browser).move_to_element(points[1]).click().perform()
    shown = "return document.querySelector('li:target h4')?.innerText"
    end = time.monotonic() + 5
    while not browser.execute_script(shown) and time.monotonic() < end:
        time.sleep(0.05)
    assert browser.execute_script(shown).startswith("temperature=")


@pytest.mark.parametrize(("width", "columns"), [(1280, 3), (390, 1)])
def test_texts_of_both_sides_stand_beside_the_verdict(decided: Path, show: Open, width: int, columns: int) -> None:
    """The sentences and two texts in a row; on a phone one below the other."""
    browser = show(decided, width)
    lefts = browser.execute_script(
        "const r = document.querySelector('.ruling');"
        "return [...r.querySelectorAll('.said, .side')].map((e) => Math.round(e.getBoundingClientRect().left))"
    )
    assert len(lefts) == 3
    assert len(set(lefts)) == columns
    assert lefts == sorted(lefts)


def test_the_evidence_opens_with_its_chart(decided: Path, show: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = show(decided)
    state = "return [...document.querySelectorAll('.grounds')].map((d) => [d.open, !!d.querySelector('svg')])"
    assert browser.execute_script(state) == [[False, False]] * 2
    browser.find_element("css selector", ".grounds > summary").send_keys(Keys.ENTER)
    time.sleep(0.1)
    wait_for_charts(browser)
    assert browser.execute_script(state) == [[True, True], [False, False]]
    dots = browser.find_elements("css selector", ".grounds[open] .mark-symbol path")
    rows = browser.find_elements("css selector", ".grounds[open] tbody tr")
    assert len(dots) == len(rows) == 6
    best = [r.find_element("css selector", "th").text for r in rows if r.get_attribute("class") == "best"]
    assert 1 <= len(best) < 6
    filled = [d.get_attribute("fill") for d in dots].count("var(--line-1)")
    assert filled == len(best)
    assert browser.execute_script("return seen") == []


def test_every_chart_has_its_numbers_in_a_table(plain: Path, decided: Path, show: Open) -> None:
    for page in (plain, decided):
        numbers_of_charts(show(page))


def numbers_of_charts(browser: Any) -> None:
    said = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((c) => [c.getAttribute('role'),"
        " c.getAttribute('aria-label'), c.parentElement.querySelector('strong').textContent])"
    )
    heads = browser.execute_script("return [...document.querySelectorAll('thead th')].map((h) => h.textContent)")
    for role, label, noun in said:
        assert role == "img"
        assert "lowest" in label
        assert any(head.startswith(noun) for head in heads)


@pytest.mark.slow
def test_a_hundred_thousand_completions(tmp_path: Path, show: Open) -> None:
    """The page of 100,000 texts is under 5 MB and is open, charts and all, in under 2 s."""
    engine = poise.load("fake")
    asked = [Prompt(" ".join(p), use_case="many") for p in itertools.product("abcdefgh", repeat=4)]
    prompts = list({engine.encode(p): p for p in asked}.values())
    settings = poise.grid(temperature=[0.1 * i for i in range(1, 11)])
    study = poise.sweep(
        engine, prompts[:400], settings, study=tmp_path / "s.db", draws=25, max_tokens=16, baselines=False
    )
    assert study.count() == 100_000
    page = poise.report(study, tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    best = min(opening_time(show, page) for _ in range(3))
    assert best < 2
    browser = show(page)
    open_all(browser)
    assert set(browser.execute_script(DRAWN)) == {"yes"}


def test_the_page_opens_fast(plain: Path, show: Open) -> None:
    assert plain.stat().st_size < 5e6
    assert min(opening_time(show, plain) for _ in range(3)) < 2


def opening_time(show: Open, page: Path) -> float:
    """Seconds from asking for the page until the load event and every open chart are done; best of a run."""
    browser = show(page)
    took: float = browser.execute_script(
        "const drawn = performance.getEntriesByName('poise-drawn').map((m) => m.startTime);"
        "return Math.max(performance.getEntriesByType('navigation')[0].loadEventEnd, ...drawn) / 1000"
    )
    assert took > 0
    return took


def open_all(browser: Any) -> None:
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    time.sleep(0.1)
    wait_for_charts(browser)
