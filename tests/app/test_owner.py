"""Whose runs are whose: what the page of a run offers, what is refused, and who signs in."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from scripts.serving import PROJECT, serve
from tests.app.conftest import App
from tests.app.driving import ready
from tests.app.test_server import get
from ui import owner
from ui.owner import COOKIE, NOT_YOURS, user_key
from ui.resources import dispatcher
from ui.server import ROUTES
from ui.steer import WEIGHTS_ONLY
from vae_core import runs
from vae_core.defaults import recipe
from vae_core.dispatch import CANCELLED
from vae_core.rules import EPOCH_LIMIT
from vae_core.runs import RUNS_VARIABLE, Run, Status

ME, SOMEBODY = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@pytest.fixture
def page_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], AppTest]:
    """Opens a run's page as its owner, through Streamlit's own harness."""
    monkeypatch.chdir(PROJECT)
    become(monkeypatch, ME)

    def open_page(run: Run | None) -> AppTest:
        test = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60).run()
        test.switch_page("pages/train/train.py")
        if run:
            test.query_params["run"] = run.id
        return test.run()

    return open_page


def become(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("ui.owner.owner", lambda: key)


def button(test: AppTest, label: str) -> Any:
    return next(found for found in test.button if found.label == label)


def labels(test: AppTest) -> list[str]:
    return [found.label for found in test.button]


def errors(test: AppTest) -> list[str]:
    found: Any = test.get("error")
    return [element.value for element in found]


def progress(test: AppTest) -> str:
    """How far a run is, in words: told by its pulse, or of one that has ended by the page."""
    ended: Any = test.get("progress")
    if ended:
        return ended[0].proto.text
    return told_to_pulse(test)["text"]


def told_to_pulse(test: AppTest) -> dict[str, Any]:
    """What a page that shows a run has drawn, as its pulse is told."""
    components: Any = test.get("bidi_component")
    pulse = next(found.proto for found in components if found.proto.component_name == "elbo_room.pulse")
    return json.loads(pulse.json)["seen"]


def test_a_run_that_waits_says_when_its_turn_is_and_can_be_cancelled(page_of: Callable[..., AppTest]) -> None:
    first, second = (dispatcher().create(recipe("digits"), ME) for _ in range(2))
    test = page_of(second)
    assert progress(test) == "2nd in the queue: it begins when there is a place for it."
    assert labels(test) == ["Cancel"]
    assert progress(page_of(first)).startswith("Next in the queue")
    button(test, "Cancel").click().run()
    assert (second.status().state, second.status().reason) == ("stopped", CANCELLED)
    assert progress(test) == f"Stopped at 0% after 0 s. {CANCELLED}"
    button(test, "Start again").click().run()
    assert second.status().state == "queued"
    assert progress(test).startswith("2nd in the queue")
    assert errors(test) == []


def test_beyond_a_limit_the_page_says_so(page_of: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELBO_ROOM_MAX_QUEUED", "1")
    run = runs.create(recipe("digits"), ME)
    run.write_status(Status("stopped"))
    dispatcher().create(recipe("digits"), ME)
    test = page_of(run)
    button(test, "Start again").click().run()
    assert [text.split(":")[0].split(".")[0] for text in errors(test)] == [
        "1 of your runs wait in the queue, but at most 1 may wait"
    ]
    test = page_of(None)
    button(test, "Train").click().run()
    assert any("at most 1 may wait" in text for text in errors(test))
    assert len(runs.listed(ME)) == 2


@pytest.fixture
def training() -> Iterator[Callable[[runs.State], Run]]:
    """Makes runs of mine as they are in training."""
    with ExitStack() as held:

        def make(state: runs.State) -> Run:
            run = runs.create(recipe("digits"), ME)
            run.write_checkpoint(1, {}, {})
            run.write_status(Status(state, step=1, total_steps=9))
            if run.recorded_status().active:
                held.enter_context(run.lock())
            return run

        yield make


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ("running", "Pause"),
        ("running", "Stop"),
        ("running", "Apply from the next step on"),
        ("paused", "Resume"),
        ("paused", "One step"),
        ("stopped", "Go on"),
        ("finished", "Train on"),
    ],
)
def test_what_only_the_owner_may_do_is_refused_and_not_only_hidden(
    page_of: Callable[..., AppTest],
    training: Callable[[runs.State], Run],
    monkeypatch: pytest.MonkeyPatch,
    state: runs.State,
    label: str,
) -> None:
    """The buttons are there because the page was drawn for the owner, who has signed out since."""
    run = training(state)
    test = page_of(run)
    become(monkeypatch, SOMEBODY)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    button(test, label).click().run()
    assert NOT_YOURS in errors(test)
    assert label not in labels(test)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    assert dispatcher().queue.waiting() == []
    become(monkeypatch, ME)
    test = page_of(run)
    button(test, label).click().run()
    assert errors(test) == []


def test_who_has_no_key_starts_no_run(page_of: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would belong to everybody who has none."""
    become(monkeypatch, "")
    nobodys = runs.create(recipe("digits"))
    assert labels(page_of(nobodys)) == []
    test = page_of(None)
    button(test, "Train").click().run()
    assert errors(test) == [
        "This browser keeps no cookies, so that a run could not be known as yours. Allow them, and reload."
    ]
    assert [run.id for run in runs.listed()] == [nobodys.id]
    assert not [label for label in labels(test) if label == "Open"]  # nor does everybody see it


def test_a_run_whose_epochs_are_near_their_limit_is_trained_on_up_to_it(page_of: Callable[..., AppTest]) -> None:
    config = recipe("digits")
    for epochs, offered in ((EPOCH_LIMIT - 3, [3.0]), (EPOCH_LIMIT, [])):
        run = runs.create(replace(config, schedule=replace(config.schedule, epochs=epochs)), ME)
        run.write_checkpoint(1, {}, {})
        run.write_status(Status("finished", step=1, total_steps=1))
        test = page_of(run)
        assert not test.exception
        assert [field.max for field in test.number_input if field.label == "More epochs"] == offered


def test_weights_without_the_optimiser_are_explored_and_not_trained_on(page_of: Callable[..., AppTest]) -> None:
    run = runs.create(recipe("digits"), ME)
    run.write_checkpoint(1, {}, {})
    (run.checkpoints()[0] / "trainer.safetensors").unlink()
    for state in ("stopped", "finished"):
        run.write_status(Status(state, step=1, total_steps=9))
        test = page_of(run)
        assert labels(test) == ["Explore it", "New run"]
        assert WEIGHTS_ONLY in [caption.value for caption in test.caption]


def test_a_run_that_is_damaged_while_it_is_looked_at_says_so(page_of: Callable[..., AppTest]) -> None:
    run = runs.create(recipe("digits"), ME)
    run.write_status(Status("stopped"))
    (run.folder / "metrics.jsonl").write_text('{"step"\n')
    test = page_of(run)
    assert not test.exception
    assert any(text.startswith("This run is damaged: metrics.jsonl") for text in errors(test))


def test_a_step_that_is_done_while_the_page_is_drawn_is_news_to_its_pulse(
    page_of: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.create(recipe("digits"), ME)
    run.write_status(Status("paused", step=1, total_steps=10))

    def just_too_early(run: Run) -> None:
        """Finds no graph, and then there is one."""
        run.write_trace({"step": 2})

    monkeypatch.setattr(Run, "trace", just_too_early)
    with run.lock():
        assert told_to_pulse(page_of(run))["traced"] != run.traced()


class Session:
    """What Streamlit tells a page about a browser."""

    def __init__(self, cookie: str, **user: object) -> None:
        self.cookies, self.context, self.user = {COOKIE: cookie}, self, user


def test_users_are_known_by_issuer_and_subject_and_no_cookie_passes_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = {"iss": "https://a.example", "sub": "1", "name": "Ada"}
    keys = {user_key(ada), user_key({**ada, "sub": "2"}), user_key({**ada, "iss": "https://b.example"})}
    assert len(keys) == 3
    assert user_key({**ada, "name": "Ada L."}) in keys
    for session, key in (
        (Session(ME), ME),
        (Session(ME, is_logged_in=False), ME),
        (Session(ME, is_logged_in=True, **ada), user_key(ada)),
        (Session(user_key(ada)), ""),
        (Session(ME.upper()), ""),
        (Session("../" + ME), ""),
    ):
        monkeypatch.setattr(owner, "st", session)
        assert owner.owner() == key


def test_no_route_tells_whose_a_run_is(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNS_VARIABLE, str(app.runs))
    run = runs.create(recipe("digits"), ME)
    run.write_status(Status("stopped"))
    names = ("owner", "snapshots/owner", "snapshots/..%2fowner", "metrics/../owner", "%2e%2e/.queue/waiting")
    asked = [f"/api/{kind}/{run.id}/{name}" for kind in ("runs", "models") for name in names]
    asked += [
        route.path.replace("{run}", run.id)
        .replace("{model}", run.id)
        .replace("{step}", "0")
        .replace("{layer}", "holes")
        for route in ROUTES
    ]
    for path in asked:
        assert ME.encode() not in get(app.url + path)[1], path
    for hidden in (".queue", ".trash"):
        assert get(f"{app.url}/api/runs/{hidden}/metrics")[0] == 404


def test_a_forged_key_is_replaced(app: App) -> None:
    assert get(app.url, Cookie=f"{COOKIE}={ME}")[2]["set-cookie"] is None
    assert f"{COOKIE}=user-" not in (get(app.url, Cookie=f"{COOKIE}=user-{ME}")[2]["set-cookie"])


SECRET = "a secret that is long enough to sign cookies with"
SECRETS = f"""
[auth]
redirect_uri = "http://127.0.0.1/oauth2callback"
cookie_secret = "{SECRET}"
client_id = "elbo-room"
client_secret = "none"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""


def test_who_signs_in_owns_runs_in_every_browser(
    context: BrowserContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs_folder: Path
) -> None:
    """Signed in as a provider would have it: with the cookie that Streamlit sets once a user is known. A browser that
    forgets its cookies is another one."""
    (tmp_path / "secrets.toml").write_text(SECRETS)
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(tmp_path / "secrets.toml"))
    ada = {"iss": "https://id.example", "sub": "ada", "name": "Ada"}
    run = runs.create(recipe("digits"), user_key(ada))
    run.write_status(Status("stopped"))
    with serve(runs_folder) as url:

        def visit(user: dict[str, str] | None) -> Page:
            context.clear_cookies()
            if user:
                told = json.dumps({**user, "origin": url, "is_logged_in": True})
                signed = create_signed_value(SECRET, "_streamlit_user", told).decode()
                context.add_cookies([{"name": "_streamlit_user", "value": signed, "url": url}])
            page = context.new_page()
            ready(page, f"{url}/train?run={run.id}")
            page.get_by_role("button", name="New run").wait_for()
            return page

        for _ in range(2):
            page = visit(ada)
            page.get_by_text("Ada", exact=True).wait_for()
            page.get_by_role("button", name="Sign out").wait_for()
            page.get_by_role("button", name="Start again").wait_for()
            page.close()
        for other in ({**ada, "sub": "bob", "name": "Bob"}, None):
            page = visit(other)
            if other:
                page.get_by_text("Bob", exact=True).wait_for()
            assert page.get_by_role("button", name="Start again").count() == 0
            page.close()
