"""A person opens the page in a browser, watches a problem open, works on it and sees that it is over.

The server is `alert-assets serve`, the browser Debian's Chromium, without a window. Nothing is asked of any other
origin, nothing from outside runs, and the pages can be used by keyboard, on a phone, in the dark, and by who cannot see
them.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.notify.store.notifications import Notifications
from alert_assets.settings import load_settings
from alert_assets.state.database import State
from alert_assets_tests.commands.lake import write
from alert_assets_tests.intake.site import serving
from alert_assets_tests.web.lake import measured, notify, problem, put, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from alert_assets.settings import Settings

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is needed"),
]

PHONE = {"width": 390, "height": 844}
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
LONG = "W" * 5_000 + " " + "no blanks-" * 500
SYSTEM = ("tables", "quality", "slos", "breakers", "quarantine", "senders", "deliveries")
BUDGET_BYTES = 150_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, data_dir=tmp_path / "data")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container has not.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, url: str, **given: Any) -> Iterator[Page]:
    """A page in a browser of its own, which loads all it needs from one origin, logs no error and is not owned."""
    context = browser.new_context(base_url=url, **given)
    page, asked, errors = context.new_page(), set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    page.set_default_timeout(15_000)
    yield page
    assert page.title() != "owned"
    context.close()
    assert not errors
    assert {address for address in asked if not address.startswith(f"{url}/")} == set()


def wrong_for_some(page: Page) -> list[str]:
    """What axe-core finds serious."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]


def is_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_one_problem_from_its_opening_to_its_end(browser: Browser, settings: Settings) -> None:
    old, new = problem(90, title="disk_full on archive", applications=["archive"]), problem(2, severity="CRITICAL")
    put(settings, old)
    notify(settings, old)
    with serving(settings.data_dir) as site, opened(browser, site.url) as page:
        page.goto("/")
        assert page.locator(".problems li").count() == 1
        # The filter holds while a problem opens, and what is typed keeps the focus.
        page.get_by_label("Text").fill("latency")
        page.get_by_text("No firing problem matches.").wait_for()
        page.get_by_text("live", exact=True).wait_for()
        put(settings, old, new)
        notify(settings, new)
        page.get_by_role("link", name="latency_high on shop").wait_for()
        assert page.locator(".problems li").count() == 1
        assert page.evaluate("document.activeElement.name") == "q"
        assert page.get_by_label("Text").input_value() == "latency"
        page.get_by_role("link", name="latency_high on shop").click()
        page.get_by_label("Why").fill("mine")
        page.get_by_role("button", name="Silence 1 h").click()
        page.get_by_text("silenced until").wait_for()
        page.get_by_label("Why").fill("mine")
        page.get_by_role("button", name="Acknowledge").click()
        page.locator(".tag.taken").wait_for()
        assert page.get_by_role("button", name="Acknowledge").is_disabled()
        with opened(browser, site.url) as other:
            # Somebody else looks on, and sees without loading again that it was resolved.
            other.goto(page.url.partition("?")[0])
            assert other.get_by_text("resolved it").count() == 0
            other.get_by_text("live", exact=True).wait_for()
            page.get_by_role("button", name="Resolve").click()
            other.get_by_text("resolved it").wait_for()
        page.get_by_role("status").wait_for()
    acts = [entry.action for entry in Notifications(State(settings.state_url)).audit()]
    assert acts == ["episode_resolve", "episode_acknowledge", "silence_add"]


def test_a_breaker_is_reset(browser: Browser, settings: Settings) -> None:
    circuit_breakers(settings).trip("pipeline", "3 failures in a row")
    with serving(settings.data_dir) as site, opened(browser, site.url) as page:
        page.goto("/breakers")
        page.get_by_role("button", name="Reset pipeline").click()
        page.get_by_text("The circuit breaker is reset").wait_for()
        assert page.get_by_role("button", name="Reset pipeline").count() == 0
    assert {status.state for status in circuit_breakers(settings).all()} == {"CLOSED"}


def test_sign_in(browser: Browser, settings: Settings) -> None:
    put(settings, problem(1))
    with serving(settings.data_dir, ALERTS_WEB_TOKENS="maria=correct-horse") as site, opened(browser, site.url) as page:
        page.goto("/?state=all")
        page.get_by_label("Your token").fill("wrong-horse")
        page.keyboard.press("Enter")
        page.get_by_text("Nobody has this token.").wait_for()
        assert wrong_for_some(page) == []
        page.get_by_label("Your token").fill("correct-horse")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="latency_high on shop").wait_for()
        assert "state=all" in page.url
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Your token").wait_for()


def test_a_page_of_elsewhere_does_nothing(browser: Browser, settings: Settings) -> None:
    one = problem(2)
    put(settings, one)
    notify(settings, one)
    with serving(settings.data_dir) as site, opened(browser, site.url) as page:
        for act in ("acknowledge", "resolve", "silence"):
            page.goto("about:blank")
            # With a token that looks like one, as somebody's page would send it from this person's browser.
            form = f'<form method="post" action="{site.url}/problems/{one["problem_id"]}/{act}">'
            page.set_content(f'{form}<input name="token" value="{"0" * 64}"><button>Win</button></form>')
            with page.expect_navigation() as answered:
                page.get_by_role("button", name="Win").click()
            assert answered.value.status == 403
    notifications = Notifications(State(settings.state_url))
    assert [episode.state for episode in notifications.episodes(limit=0)] == ["open"]
    assert notifications.audit() == []


def test_markup_is_text_and_fits_a_phone_in_the_dark(browser: Browser, settings: Settings) -> None:
    cause = {"application_id": MARKUP, "host": LONG, "share": 0.9, "because": MARKUP + LONG, "change": MARKUP}
    one = problem(
        1, title=MARKUP + LONG, applications=[MARKUP, LONG], causes=[cause], confidence=0.9, context_text=LONG
    )
    put(settings, one)
    write(settings, SILVER_ALERTS, window(one, message=MARKUP + LONG, host=LONG, alert_type=MARKUP))
    write(settings, BRONZE_EVENTS, *measured(one, MARKUP, 20, 90))
    notify(settings, one)
    with serving(settings.data_dir) as site:
        for dark in ("light", "dark"):
            with opened(browser, site.url, viewport=PHONE, color_scheme=dark) as page:
                for path in ("/", f"/problems/{one['problem_id']}", *(f"/{name}" for name in SYSTEM)):
                    page.goto(path)
                    assert not is_sideways(page), path
                    assert wrong_for_some(page) == [], (dark, path)
                page.goto(f"/problems/{one['problem_id']}")
                assert page.locator("h1").inner_text().startswith("<img src=x onerror=")
                paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, paper[4:-1].split(","))) < 200) == (dark == "dark")


def test_by_keyboard_alone_and_within_the_budget(browser: Browser, settings: Settings) -> None:
    many = [problem(n, title=f"latency_high on service-{n}") for n in range(1, 61)]
    put(settings, *many)
    write(settings, BRONZE_EVENTS, *measured(many[0], "shop", 20, 90))
    notify(settings, many[0])
    sizes: dict[str, int] = defaultdict(int)
    with serving(settings.data_dir) as site, opened(browser, site.url) as page:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.dataReceived", lambda got: sizes.update({"all": sizes["all"] + got["dataLength"]}))
        page.goto("/")
        assert wrong_for_some(page) == []
        # Past the navigation by the first link, to the list, into the first problem.
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == many[0]["title"]:
                break
        page.keyboard.press("Enter")
        page.get_by_role("heading", level=1, name=many[0]["title"]).wait_for()
        assert wrong_for_some(page) == []
        page.get_by_label("Why").focus()
        page.keyboard.type("by keyboard")
        page.keyboard.press("Enter")
        page.locator(".tag.taken").wait_for()
    assert 20_000 < sizes["all"] < BUDGET_BYTES
    (entry,) = Notifications(State(settings.state_url)).audit()
    assert (entry.action, entry.why) == ("episode_acknowledge", "by keyboard")


def test_every_page_works_without_script(browser: Browser, settings: Settings) -> None:
    one = problem(1)
    put(settings, one)
    notify(settings, one)
    with serving(settings.data_dir) as site, opened(browser, site.url, java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_label("Text").fill("nothing like it")
        page.get_by_role("button", name="Filter").click()
        page.get_by_text("No firing problem matches.").wait_for()
        page.goto("/")
        page.get_by_role("link", name="latency_high on shop").click()
        page.get_by_role("button", name="Acknowledge").click()
        page.locator(".tag.taken").wait_for()
