"""The page in a real browser, Debian's Chromium: it sorts, filters, turns dark, and asks nobody for anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.test_page import FIGURE, HOSTILE, filled, hostile, page

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="Debian's chromium and chromium-driver are not installed"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser: Any, mnist: Synthetic) -> Any:
    """A page with a stranger's record, freshly loaded, and nothing in the logs before it."""
    filled(mnist)
    hostile(mnist)
    file = Path("page.html").resolve()
    file.write_text(page(mnist, FIGURE))
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get(file.as_uri())
    browser.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    return browser


def column(browser: Any, number: int) -> list[str]:
    """Return what stands in a column of the first table, of the rows that are shown."""
    script = """return [...document.querySelector(".table tbody").rows].filter(row => row.offsetParent)
        .map(row => row.cells[arguments[0]].textContent.trim())"""
    return list(browser.execute_script(script, number))


def heading(browser: Any, number: int) -> Any:
    return browser.find_element("css selector", ".table").find_elements("css selector", "thead th")[number]


def background(browser: Any) -> str:
    return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))


def test_a_heading_sorts_by_its_numbers_one_way_and_the_other(shown: Any) -> None:
    score = heading(shown, 2)
    score.find_element("css selector", "button").click()
    rising = [text.split()[0] for text in column(shown, 2)]
    assert score.get_attribute("aria-sort") == "ascending"
    assert rising[-1] == "-", "what is not there comes last"
    assert [float(text) for text in rising[:-1]] == sorted(float(text) for text in rising[:-1])
    score.find_element("css selector", "button").click()
    falling = [text.split()[0] for text in column(shown, 2)]
    assert score.get_attribute("aria-sort") == "descending"
    assert falling == [*rising[:-1][::-1], "-"]


def test_the_keyboard_alone_sorts_and_filters(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    before = column(shown, 0)
    heading(shown, 0).find_element("css selector", "button").send_keys(Keys.ENTER)
    assert column(shown, 0) == sorted(before, key=str.lower)
    shown.find_element("css selector", "body").send_keys("/")
    box = shown.switch_to.active_element
    assert box.tag_name == "input"
    box.send_keys("norm")
    assert column(shown, 0) == ["normal"]
    box.send_keys(Keys.ESCAPE)
    assert sorted(column(shown, 0)) == sorted(before)


def test_a_filter_keeps_rows_with_all_of_its_words_and_counts_them(shown: Any) -> None:
    box = shown.find_element("css selector", ".table input")
    box.send_keys("MATCHING sliced")
    assert column(shown, 0) == ["sliced-score-matching"]
    assert shown.find_element("css selector", ".table .count").text == "1 of 3 rows"
    box.send_keys(" nothing-of-this-name")
    assert column(shown, 0) == []


def test_dark_follows_the_system_until_the_switch_says_otherwise(shown: Any) -> None:
    light = background(shown)
    shown.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = background(shown)
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    chart = "return getComputedStyle(document.querySelector('.chart img')).filter"
    assert "invert" in shown.execute_script(chart)
    shown.find_element("id", "theme").click()
    assert background(shown) == light
    assert shown.execute_script(chart) == "none"
    shown.refresh()
    assert background(shown) == light, "it is kept"


def test_a_link_opens_what_is_recorded_of_a_row(shown: Any) -> None:
    shown.find_element("css selector", ".table tbody a").click()
    opened = shown.find_elements("css selector", "details.row[open] summary")
    assert [own.text for own in opened] == ["normal"]
    opened[0].click()
    assert not shown.find_elements("css selector", "details.row[open]")
    shown.find_element("css selector", ".table tbody a").click()
    assert shown.find_elements("css selector", "details.row[open]"), "the same link opens it again"


def test_nothing_is_asked_for_and_nothing_is_wrong(shown: Any) -> None:
    for button in shown.find_elements("css selector", "thead button, #theme"):
        shown.execute_script("arguments[0].click()", button)
    events = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    asked = [own["params"]["request"]["url"] for own in events if own["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert [entry["message"] for entry in shown.get_log("browser")] == []


def test_a_strategy_named_like_a_script_harms_nothing(shown: Any) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        shown.switch_to.alert  # noqa: B018
    assert HOSTILE in column(shown, 0), "it is shown as it is"
    assert len(shown.find_elements("css selector", "script")) == 1
    # even what came into the page as markup would not run
    shown.execute_script("""const own = document.createElement("script"); own.textContent = "window.harm = 1";
        document.body.append(own)""")
    assert shown.execute_script("return window.harm") is None


def test_paper_is_light_and_has_no_controls(shown: Any) -> None:
    shown.execute_script("document.documentElement.dataset.theme = 'dark'")
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert background(shown) == "rgb(255, 255, 255)"
    assert not shown.find_element("css selector", ".tools").is_displayed()
    assert not shown.find_element("id", "theme").is_displayed()
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
