"""The site in a real browser: nothing that axe finds wrong, at three widths and in both themes; the
search, and comparing any two versions. Screenshots are kept where IMAGECTL_SCREENSHOTS says."""

from __future__ import annotations

import functools
import http.server
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from peers.serving import serving
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support.gallery import gallery

from imagectl.adapters.site_folder import replace_folder
from imagectl.bootstrap.site import site_sources
from imagectl.site.pages import files
from imagectl.site.sources import Page

pytestmark = pytest.mark.integration

WIDTHS = {"phone": 360, "tablet": 768, "desktop": 1280}
PAGES = {
    "home": "index.html",
    "releases": "releases.html",
    "status": "status.html",
    "image": "images/debian-ci/index.html",
    "ending": "images/debian-base/index.html",
    "versions": "images/debian-ci/versions.html",
    "compare": "images/debian-ci/compare.html",
    "channel": "images/debian-ci/channels/stable.html",
    "next": "images/debian-ci/channels/stable.next.html",
    "nothing-next": "images/debian-base/channels/stable.next.html",
    "version": "images/debian-ci/versions/20261029.1.html",
    "revoked": "images/debian-ci/versions/20261019.1.html",
    "unknown": "images/debian-ci/versions/20261001.1.html",
    "changes": "images/debian-ci/changes/20261010.1-20261029.1.html",
    "unknown-changes": "images/debian-ci/changes/20261001.1-20261010.1.html",
}
AXE = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a project with some history."""
    folder = tmp_path_factory.mktemp("site") / "site"
    project = gallery(folder.parent / "project", announced=True)
    made = files(site_sources(project, "VM images", ""))
    replace_folder(
        folder,
        (
            (
                each.path,
                each.content
                if isinstance(each, Page)
                else functools.partial(project.store.path, each.sha256),
            )
            for each in made
        ),
    )
    project.close()
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing about requests."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Any web server will do: this is ``python3 -m http.server``."""
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # tests may run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


def shown(browser: webdriver.Chrome, width: int, theme: str, *, scripts: bool = True) -> None:
    """The next pages are seen like that."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})


def wrong(browser: webdriver.Chrome) -> list[str]:
    """What axe finds wrong with the page, in words."""
    browser.execute_script(AXE)
    said = browser.execute_async_script(
        "const [tags, done] = arguments;"
        "axe.run(document, {runOnly: {type: 'tag', values: tags}})"
        ".then((found) => done(found), (error) => done({violations: [], error: String(error)}));",
        RULES,
    )
    assert "error" not in said, said
    assert len(said["passes"]) > 10, "axe has looked at something"
    return [
        f"{each['id']}: {each['help']}: {node['target']} {node['html'][:150]}"
        for each in said["violations"]
        for node in each["nodes"]
    ]


def log(browser: webdriver.Chrome) -> list[str]:
    """What the browser itself has to say, such as that a rule of the page forbids something."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
    return [each["message"] for each in entries]


def keep_picture(browser: webdriver.Chrome, name: str) -> None:
    folder = os.environ.get("IMAGECTL_SCREENSHOTS")
    if folder:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        width = browser.execute_script("return innerWidth")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.save_screenshot(str(Path(folder, f"{name}.png")))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_wrong(
    browser: webdriver.Chrome, address: str, width: str, theme: str
) -> None:
    found = {}
    for name, page in PAGES.items():
        shown(browser, WIDTHS[width], theme)
        browser.get(address + page)
        problems = wrong(browser)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        if wide > WIDTHS[width]:
            problems.append(f"the page is {wide} wide")
        problems += log(browser)
        if problems:
            found[name] = problems
        keep_picture(browser, f"{name}-{width}-{theme}")
    assert found == {}


def test_no_table_is_cut_off_on_a_phone(browser: webdriver.Chrome, address: str) -> None:
    """Digests and references wrap: nobody has to find out that they can be scrolled."""
    shown(browser, WIDTHS["phone"], "light")
    cut = {}
    for name, page in PAGES.items():
        browser.get(address + page)
        found = browser.execute_script(
            "return [...document.querySelectorAll('.scroll')]"
            ".filter((each) => each.scrollWidth > each.clientWidth)"
            ".map((each) => `${each.ariaLabel}: ${each.scrollWidth} in ${each.clientWidth}`)"
        )
        if found:
            cut[name] = found
    assert cut == {}


@pytest.mark.parametrize("width", ["tablet", "desktop"])
def test_the_tables_of_the_status_page_have_the_same_columns(
    browser: webdriver.Chrome, address: str, width: str
) -> None:
    """So that the eye can go down its states, over all tables."""
    shown(browser, WIDTHS[width], "light")
    browser.get(address + "status.html")
    columns = browser.execute_script(
        "return [...document.querySelectorAll('table.status')].map((table) =>"
        "[...table.tHead.rows[0].cells].map((cell) => Math.round(cell.getBoundingClientRect().x)))"
    )
    assert len(columns) > 2
    assert len({tuple(each) for each in columns}) == 1, columns


def test_axe_would_find_something(browser: webdriver.Chrome, address: str) -> None:
    shown(browser, WIDTHS["desktop"], "light")
    browser.get(address + "index.html")
    browser.execute_script(
        "document.querySelector('main').append(document.createElement('button'));"
        "document.querySelector('h1').setAttribute('aria-hidden', 'maybe')"
    )
    assert {each.partition(":")[0] for each in wrong(browser)} == {
        "aria-valid-attr-value",
        "button-name",
    }


def test_a_page_shows_everything_without_scripts(browser: webdriver.Chrome, address: str) -> None:
    shown(browser, WIDTHS["desktop"], "light", scripts=False)
    try:
        browser.get(address + "images/debian-ci/versions/20261029.1.html")
        text = browser.find_element(By.TAG_NAME, "body").text
        assert "3.0.15-1" in text
        assert "CVE-2026-1001" in text
        assert "<script>alert(1)</script>" in text
        assert not browser.find_element(By.ID, "search").is_displayed()
    finally:
        shown(browser, WIDTHS["desktop"], "light")


def test_every_link_leads_somewhere(browser: webdriver.Chrome, site: Path) -> None:
    """As files in a folder, without a server."""
    links: set[str] = set()
    for page in site.rglob("*.html"):
        browser.get(page.as_uri())
        found = browser.execute_script(
            "return [...document.querySelectorAll('a, link, script, img')]"
            ".map((each) => (each.href || each.src).split('#')[0])"
        )
        links.update(found)
        assert log(browser) == [], page
        font = browser.find_element(By.TAG_NAME, "body").value_of_css_property("margin-top")
        assert font == "0px", "the style sheet is there"
    assert len(links) > 60
    missing = [each for each in links if not Path(each.removeprefix("file://")).is_file()]
    assert missing == []


@pytest.mark.parametrize("where", ["server", "folder"])
def test_search_finds_images_versions_and_packages(
    browser: webdriver.Chrome, address: str, site: Path, where: str
) -> None:
    shown(browser, WIDTHS["phone"], "light")
    root = address if where == "server" else site.as_uri() + "/"
    browser.get(root + "images/debian-ci/index.html")
    box = browser.find_element(By.ID, "search")

    def results(words: str) -> list[str]:
        box.clear()
        box.send_keys(words)
        WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "found").text)
        return [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#results li")]

    assert results("libssl3 3.0.16") == [
        "libssl3 3.0.16-1 package in debian-base@20261110.1",
        "libssl3 3.0.16-1 package in debian-ci@20261117.1",
    ]
    assert wrong(browser) == []
    assert results("debian-ci stable")[0] == "debian-ci stable 20261029.1"
    box.send_keys(Keys.ENTER)
    WebDriverWait(browser, 20).until(
        lambda _: browser.current_url.endswith("images/debian-ci/channels/stable.html")
    )


def test_any_two_versions_are_compared(browser: webdriver.Chrome, address: str) -> None:
    shown(browser, WIDTHS["tablet"], "dark")

    def compared(before: str, after: str) -> str:
        browser.get(address + "images/debian-ci/compare.html")
        for name, version in (("before", before), ("after", after)):
            browser.find_element(By.NAME, name).send_keys(version)
        browser.find_element(By.CSS_SELECTOR, ".compare button").click()
        WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "comparison").text)
        return browser.find_element(By.ID, "comparison").text

    text = compared("20261010.1", "20261117.1")
    assert text.startswith("5 differ.")
    assert "libssl3 3.0.15-1 3.0.16-1" in text
    assert "Listens on tcp 22, tcp 80 tcp 22, tcp 443, tcp 80" in text
    assert wrong(browser) == []
    assert "what is in 20261001.1 is not known" in compared("20261001.1", "20261117.1")
