"""The page in a real browser. What it looks like is left in build/ui, to be looked at.

One browser shows one page after another; each test begins with a page of its own.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.policy.verdict import Road
from tests.ui import traffic
from tests.ui.browser import Browser
from tests.ui.conftest import Site, prepare
from tests.ui.traffic import PODS

pytestmark = pytest.mark.needs_command("chromium")

PICTURES = Path(__file__).resolve().parent.parent.parent / "build" / "ui"
FRONTEND, USERS = PODS["frontend"], PODS["users"]
LIVE = "document.querySelector('#connection').dataset.state === 'live'"
ROWS = "document.querySelectorAll('#list li').length"
ENTER, TAB, ESCAPE = ("Enter", 13, "\r"), ("Tab", 9), ("Escape", 27)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, site: Site) -> Iterator[Browser]:
    """The browser as a desk has it, with no page yet. It must have nothing to complain of."""
    prepare(site.agent)
    site.agent.history = []
    chromium.size(1280, 800)
    chromium.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    chromium.problems.clear()
    chromium.requested.clear()
    yield chromium
    assert chromium.problems == []
    assert [url for url in chromium.requested if not url.startswith(site.url)] == []


def text(browser: Browser, selector: str) -> str:
    found = browser.run(f"document.querySelector({json.dumps(selector)}).textContent")
    assert isinstance(found, str)
    return found


def texts(browser: Browser, selector: str) -> list[str]:
    found = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
    )
    assert isinstance(found, list)
    return found


def labels(browser: Browser, selector: str) -> list[str]:
    found = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.ariaLabel)"
    )
    assert isinstance(found, list)
    return found


def test_nodes_edges_and_totals_come_from_flows(browser: Browser, site: Site) -> None:
    now = time.time()
    site.agent.history = [
        *(traffic.flow(FRONTEND, USERS, time=now - 30 + at, latency_s=0.004) for at in range(12)),
        *(traffic.refused(FRONTEND, USERS, time=now - 20 + at) for at in range(4)),
        traffic.flow(USERS, PODS["postgres"], time=now - 1, road=Road.PROXY),
        traffic.lost(3),
    ]
    browser.open(site.url)
    browser.until(f"{ROWS} === 4 && document.querySelectorAll('.node').length === 3")
    assert sorted(texts(browser, ".node title")) == ["shop/frontend", "shop/postgres", "shop/users"]
    [there] = [each for each in labels(browser, ".label") if each.startswith("frontend to users")]
    assert re.search(r": 0\.[56]/s, 25% refused, p50 (3\.9|4\.[01]) ms, p99", there)
    assert text(browser, "#total-share") == "24% of all"
    assert text(browser, "#total-lost") == "3"
    assert text(browser, "#node") == "worker-1"
    assert "Without traffic: gateway, orders, auth, intruder, reports" in browser.text()
    roads = texts(browser, "#roads td")
    assert len(roads) == 9
    assert roads[5:] == ["1840", "212", "57", "9"]


def test_a_refused_request_appears_with_its_rule_and_a_click_explains_it(
    browser: Browser, site: Site
) -> None:
    browser.open(site.url)
    browser.until(f"{LIVE} && document.querySelector('#empty-text').textContent")
    assert text(browser, "#empty-title") == "No traffic now"
    assert "The agent knows 8 workloads." in text(browser, "#empty-text")
    browser.screenshot(PICTURES / "empty.png")
    site.agent.say(
        [
            traffic.flow(FRONTEND, USERS),
            traffic.refused(FRONTEND, USERS, method=b"PUT", path=b"/users/root?x=1"),
        ]
    )
    browser.until(f"{ROWS} === 1")
    row = text(browser, "#list li")
    for part in ("403", "PUT /users/root?x=1", "frontend → users", "users-api \u203a no-root"):
        assert part in row
    while not site.agent.asked.empty():
        site.agent.asked.get()
    browser.click("#list button")
    browser.until("document.querySelector('#answer .verdict')?.textContent")
    while (asked := site.agent.asked.get(timeout=10))[1] != "/explain":
        pass
    assert asked[2] == {
        "from": "shop/frontend",
        "to": "shop/users",
        "port": 80,
        "method": "PUT",
        "target": "/users/root?x=1",
        "headers": [["Host", "users"]],
    }
    told = text(browser, "#detail")
    assert "Refused no rule matched" in told
    assert "users-api read-users (policies/users-api.yaml:24): method is PUT" in told
    assert "kernel: the HTTP rules only allow and block" in told
    browser.screenshot(PICTURES / "explain.png")
    browser.press(*ESCAPE)
    browser.until("!document.querySelector('#detail').open")


def test_what_is_not_text_arrives_as_text(browser: Browser, site: Site) -> None:
    nasty = "<img src=x onerror=bad()><script>bad()</script>\"'`&amp;${bad()}"
    flow = traffic.refused(FRONTEND, USERS, policy=nasty, rule=nasty, host=nasty.encode())
    flow["flow"]["l7"]["http"] |= {"url": f"http://{nasty}/{nasty}", "method": nasty}
    flow["flow"]["source"] |= {"pod_name": nasty, "namespace": "__proto__"}
    flow["flow"]["extensions"]["value"]["reason"] = nasty
    site.agent.history = [flow]
    site.agent.answers["/explain"] = (400, {"error": nasty})
    site.agent.answers["/status"] = (200, {"node": nasty, "roads": {nasty: 1}, "errors": [nasty]})
    elements = "document.querySelectorAll('img, script:not([type=module])').length"
    browser.run("window.bad = () => { throw new Error('ran') }")
    browser.open(site.url)
    browser.until(f"{ROWS} === 1 && document.querySelector('#node').textContent")
    browser.click("#list button")
    browser.until("document.querySelector('#answer .callout')?.textContent")
    assert text(browser, "#answer") == nasty
    assert f"/{nasty}" in text(browser, "#list .target")
    assert texts(browser, ".node title")[0] == f"__proto__/{nasty}"
    assert nasty in text(browser, "#problem")
    assert nasty in text(browser, "#happened")
    assert browser.run(elements) == 0
    assert browser.run("({}).polluted === undefined && document.scripts.length === 1")
    # The answer 400 is logged by the browser: nothing else went wrong.
    assert [each for each in browser.problems if "status of 400" not in each] == []
    browser.problems.clear()


def test_a_workload_or_an_edge_filters_the_requests(browser: Browser, site: Site) -> None:
    intruder = PODS["intruder"]
    site.agent.history = [
        traffic.flow(FRONTEND, USERS, path=b"/served"),
        traffic.refused(FRONTEND, USERS, path=b"/first"),
        traffic.refused(intruder, USERS, path=b"/second"),
    ]
    browser.open(site.url)
    browser.until(f"{ROWS} === 2")
    browser.click(".node[aria-label^=intruder]")
    browser.until(f"{ROWS} === 1")
    assert "/second" in text(browser, "#list")
    assert text(browser, "#selection-text") == "intruder"
    assert browser.run("document.querySelector('.node[aria-label^=frontend]').matches('.dim')")
    browser.click("#unselect")
    browser.click(".label[aria-label^='frontend to users']")
    browser.until(f"{ROWS} === 2 && document.querySelector('#selection-text').textContent")
    assert text(browser, "#selection-text") == "frontend → users"
    assert "/served" in text(browser, "#list")
    browser.run("document.querySelector('#search').focus()")
    browser.call("Input.insertText", text="FIRST 403")
    browser.until(f"{ROWS} === 1")
    browser.call("Input.insertText", text=" zzz")
    browser.until(f"{ROWS} === 0")
    assert "No request matches the filter." in browser.text()


def test_it_can_be_used_by_keyboard_alone(browser: Browser, site: Site) -> None:
    site.agent.history = [traffic.refused(FRONTEND, USERS)]
    browser.open(site.url)
    browser.until(f"{ROWS} === 1")
    reached = set()
    for _ in range(12):
        browser.press(*TAB)
        here = browser.run(
            "(e => e.id || e.getAttribute('class') || e.value || e.tagName)(document.activeElement)"
        )
        reached.add(here.split()[0])
        if here.split()[0] == "node":
            browser.press(*ENTER)
    assert {"label", "node", "hold", "refused", "search", "unselect"} <= reached
    browser.run("document.querySelector('#list button').focus()")
    browser.press(*ENTER)
    browser.until("document.querySelector('#detail').open")
    browser.press(*ESCAPE)
    browser.until("!document.querySelector('#detail').open")
    assert browser.run("document.activeElement === document.querySelector('#list button')")
    unnamed = browser.run(
        "[...document.querySelectorAll('button, input, [role=button]')]"
        ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).length"
    )
    assert unnamed == 0


def test_a_held_list_stays_and_goes_on(browser: Browser, site: Site) -> None:
    site.agent.history = [traffic.refused(FRONTEND, USERS)]
    browser.open(site.url)
    browser.until(f"{ROWS} === 1")
    browser.click("#hold")
    site.agent.say([traffic.refused(FRONTEND, USERS), traffic.refused(PODS["auth"], USERS)])
    browser.until("document.querySelectorAll('.node').length === 3")
    assert browser.run(ROWS) == 1
    browser.click("#hold")
    browser.until(f"{ROWS} === 3")


def test_an_agent_that_goes_away_is_told_and_what_it_said_stays(
    browser: Browser, site: Site
) -> None:
    site.agent.history = [traffic.refused(FRONTEND, USERS, path=b"/before")]
    browser.open(site.url)
    browser.until(f"{ROWS} === 1")
    site.agent.stop()
    browser.until("document.querySelector('#problem').textContent.includes('l7proxy run')")
    assert browser.run(ROWS) == 1
    site.agent.history.append(traffic.flow(FRONTEND, USERS, path=b"/after"))
    browser.click("input[value=all]")
    site.agent.start()
    browser.until(f"{ROWS} === 2 && document.querySelector('#problem').hidden")
    assert ["/after" in row for row in texts(browser, "#list li")] == [True, False]
    # What the new stream repeats is not counted again.
    assert "50% refused" in labels(browser, ".label")[0]
    # That requests failed meanwhile is logged by the browser.
    assert [each for each in browser.problems if "status of 502" not in each] == []
    browser.problems.clear()


CONTRAST = """
(() => {
  const parse = (text) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) =>
      c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const rgba = parse(getComputedStyle(e).backgroundColor);
      if (rgba[3] === 255) return rgba;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".hidden, noscript")) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(colour).slice(0, 3)), light(behind(element).slice(0, 3))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${element.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""
SCROLLS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def test_it_looks_right_in_light_and_dark_and_on_a_phone(browser: Browser, site: Site) -> None:
    site.agent.history = traffic.busy_shop()
    browser.open(site.url)
    browser.until(f"{ROWS} > 20 && document.querySelectorAll('.node').length === 8")
    backgrounds = set()
    for scheme in ("light", "dark"):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        browser.until(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        browser.screenshot(PICTURES / f"{scheme}.png")
        assert browser.run(CONTRAST) == []
        backgrounds.add(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    assert not browser.run(SCROLLS)
    browser.size(1900, 1000)
    browser.until("document.querySelector('#map svg').clientWidth > 900")
    browser.screenshot(PICTURES / "wide.png")
    browser.size(360, 740, phone=True)
    browser.until("document.querySelector('#map svg').clientWidth < 340")
    assert not browser.run(SCROLLS)
    browser.screenshot(PICTURES / "phone-dark.png")
    browser.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    browser.screenshot(PICTURES / "phone.png", whole=True)
    browser.click("#list button")
    browser.until("document.querySelector('#answer .verdict')?.textContent")
    assert not browser.run(SCROLLS)
    browser.screenshot(PICTURES / "phone-explain.png")
