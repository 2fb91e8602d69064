"""The Runs page through Streamlit's own harness, and what of it only a real browser can show."""

import io
import json
import secrets
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from scripts.serving import PROJECT
from tests.app.conftest import App
from tests.app.driving import eventually, ready
from ui.inspection import terms_of
from ui.owner import COOKIE
from ui.resources import PRETRAINED, _explored, explored
from ui.runs.chosen import MOST
from ui.runs.decoded import read_place
from ui.runs.files import events
from ui.runs.table import ROW_HEIGHT
from ui.words import short
from vae_core import runs
from vae_core.archive import export
from vae_core.config import Config
from vae_core.defaults import by_method, recipe
from vae_core.marks import Marks, mark, marks
from vae_core.runs import Run, Status
from vae_core.trash import discarded

OWNER, STRANGER = "tester", "somebody"
OpenPage = Callable[..., AppTest]


@pytest.fixture
def open_runs(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """The Runs page with what an address says."""
    monkeypatch.chdir(PROJECT)
    for place in ("ui.owner.owner", "ui.runs.removal.owner", "ui.runs.taking.owner"):
        monkeypatch.setattr(place, lambda: OWNER)  # there is no browser to send a cookie

    def open_page(**params: str) -> AppTest:
        test = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60).run()
        test.switch_page("pages/runs/runs.py")
        for name, value in params.items():
            test.query_params[name] = value
        test.run()
        assert not test.exception
        return test

    return open_page


def written(elbo: float = -24.0, owner: str = OWNER, config: Config | None = None, state: Any = "finished") -> Run:
    """A run as a worker leaves it, without weights."""
    run = runs.create(config or recipe("digits"), owner)
    rows = [
        {
            "step": step, "epoch": step / 10, "seconds": step / 5, "train_elbo": elbo - 10 / step, "train_kl": 2.0,
            "train_reconstruction": elbo + 2 - 10 / step, "held_out_elbo": elbo - 9 / step, "held_out_elbo_se": 0.2,
            "held_out_kl": 3.0, "held_out_reconstruction": elbo + 3 - 9 / step, "active_units": 2,
        }
        for step in (1, 10, 1_000_000)
    ]  # fmt: skip
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.write_status(Status(state, step=50, total_steps=100, seconds=12.0))
    return run


def with_beta(beta: float, seed: int = 0) -> Config:
    plain = recipe("digits")
    return replace(plain, seed=seed, objective=replace(plain.objective, beta=beta))


def table(test: AppTest, number: int = 0) -> Any:
    return test.dataframe[number].value


def texts(test: AppTest, kind: str) -> list[str]:
    elements: Any = test.get(kind)
    return [element.value for element in elements]


def press(test: AppTest, label: str) -> None:
    next(button for button in test.button if button.label == label).click().run()
    assert not test.exception


def choose(test: AppTest, *found: Run) -> None:
    test.multiselect(key="chosen by name").set_value([run.id for run in found]).run()
    assert not test.exception


def test_own_shipped_and_linked_runs_are_listed_and_no_others(open_runs: OpenPage) -> None:
    mine, linked, other = written(), written(owner=STRANGER), written(owner=STRANGER)
    shown = table(open_runs(runs=linked.id))
    assert list(shown["From"]) == ["Trained here", "By a link", *["Shipped"] * 5]
    assert list(shown["Run"])[:2] == [short(mine.id), short(linked.id)]
    assert short(other.id) not in list(shown["Run"])
    own = shown.iloc[0]
    assert (own["State"], own["Done"], own["Latent"], own["β"]) == ("Finished", 0.5, "2", 1.0)
    numbers = (own["ELBO"], own["Rate"], own["Distortion"], own["Active"], own["Trained"])
    assert numbers == pytest.approx((-24.0, 3.0, 21.0, 2, 12.0), abs=1e-4)
    shipped = shown[shown["Run"] == "mnist-2d"].iloc[0]
    assert shipped["ELBO"] == pytest.approx(-133.33, abs=0.01)


def test_a_damaged_run_is_listed_with_the_reason_and_can_be_deleted(open_runs: OpenPage) -> None:
    whole, broken = written(), written()
    (broken.folder / "config.json").write_text("{")
    test = open_runs(runs=f"{whole.id}~{broken.id}")
    rows = table(test).set_index("Run")
    assert rows.loc[short(broken.id), "State"] == "Damaged"
    assert "config.json" in rows.loc[short(broken.id), "Damage"]
    assert rows.loc[short(whole.id), "Damage"] == ""
    press(test, "Delete 2 runs")
    assert {found.id for found in discarded(OWNER)} == {whole.id, broken.id}


def test_a_run_whose_data_set_is_gone_is_listed_as_damaged(open_runs: OpenPage, mine: Path) -> None:
    run = written(config=replace(recipe("digits"), dataset=mine.name))
    assert table(open_runs())["Data"][0] == "Mine"
    shutil.rmtree(mine)
    row = table(open_runs(runs=run.id, text="gone")).iloc[0]
    assert (row["Run"], row["State"]) == (short(run.id), "Damaged")
    assert row["Damage"] == f"its data set {mine.name} is gone: put its folder back among the data"


def test_a_plain_autoencoder_has_no_elbo_in_any_table(open_runs: OpenPage) -> None:
    plain, other = written(config=by_method(recipe("digits"), "autoencoder")), written()
    test = open_runs(tool="differences", runs=f"{plain.id}~{other.id}")
    row = table(test).set_index("Run").loc[short(plain.id)]
    assert row[["ELBO", "Rate"]].isna().all()
    assert row["Distortion"] == pytest.approx(21.0, abs=1e-4)
    outcomes = table(test, 2).set_index("Outcome")
    assert list(outcomes[short(plain.id)])[:3] == ["", "", "21.00"]
    assert list(outcomes[short(other.id)])[:3] == ["−24.00", "3.00", "21.00"]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"runs": "20261121-nobody"}, "There is no run “20261121-nobody” here."),
        ({"runs": "../etc"}, "The link's “runs” was left out: "),
        ({"tool": "rm -rf"}, "The link's “tool” was left out: "),
        ({"data": "imagenet", "state": "sad"}, "The link's “state” was left out: "),
    ],
)
def test_nonsense_in_a_link_is_a_notice(open_runs: OpenPage, params: dict[str, str], sentence: str) -> None:
    test = open_runs(**params)
    assert any(text.startswith(sentence) for text in texts(test, "warning"))
    assert len(table(test)) == 5
    assert texts(test, "error") == []


def test_the_address_follows_choice_filter_and_tool(open_runs: OpenPage) -> None:
    first, second = written(), written()
    test = open_runs()
    choose(test, second, first)
    test.text_input(key="filter text").set_value("digits").run()
    test.selectbox(key="filter state").set_value("finished").run()
    test.segmented_control(key="tool").set_value("differences").run()
    said = {name: test.query_params[name] for name in ("runs", "text", "state", "tool")}
    said = {name: value[0] if isinstance(value, list) else value for name, value in said.items()}
    assert said == {"runs": f"{second.id}~{first.id}", "text": "digits", "state": "finished", "tool": "differences"}
    shown = table(open_runs(**said))
    assert set(shown["Run"]) == {short(second.id), short(first.id), "digits-2d"}
    press(test, "Show all")
    assert len(table(test)) == 7


def test_what_is_chosen_stays_chosen_outside_the_filter(open_runs: OpenPage) -> None:
    run = written()
    test = open_runs(runs=run.id, data="mnist")
    assert short(run.id) not in list(table(test)["Run"])
    field = test.multiselect(key="chosen by name")
    assert field.value == [run.id]
    assert field.label == "Chosen runs, 1 of them outside the filter"
    assert any(button.label == "Delete 1 run" for button in test.button)


def test_rows_are_chosen_in_the_table(open_runs: OpenPage) -> None:
    """What a click on rows sends, sent as the browser does."""
    second, first = sorted((written(), written()), key=lambda run: run.id)  # the newer in the upper row
    test = open_runs(runs="mnist-2d", data="digits")
    states: Any = test._tree.get_widget_states()
    widget = states.widgets.add()
    widget.id = test.dataframe[0].proto.id
    widget.string_value = json.dumps({"selection": {"rows": [1], "columns": [], "cells": []}})
    test._run(states)
    assert not test.exception
    assert test.multiselect(key="chosen by name").value == ["mnist-2d", second.id]
    assert test.session_state["runs table"]["selection"]["rows"] == [1]
    choose(test, first)
    assert test.session_state["runs table"]["selection"]["rows"] == [0]


def test_deleting_can_be_undone_at_once_and_from_the_trash(open_runs: OpenPage) -> None:
    first, second = written(), written()
    test = open_runs(runs=f"{first.id}~{second.id}")
    press(test, "Delete 2 runs")
    assert any("Deleted 2 runs." in text for text in texts(test, "markdown"))
    assert len(table(test)) == 5
    assert runs.listed(OWNER) == []
    press(test, "Undo")
    assert len(table(test)) == 7
    assert test.multiselect(key="chosen by name").value == [first.id, second.id]
    assert not any("Deleted" in text for text in texts(test, "markdown"))
    choose(test, first)
    press(test, "Delete 1 run")
    press(test, "Restore all")
    assert {run.id for run in runs.listed(OWNER)} == {first.id, second.id}
    assert discarded(OWNER) == []


def test_a_run_that_trains_is_not_deleted_and_the_page_says_why(open_runs: OpenPage) -> None:
    run = written(state="running")
    with run.lock():
        test = open_runs(runs=run.id)
        assert table(test).iloc[0]["State"] == "Running"
        press(test, "Delete 1 run")
    assert runs.listed(OWNER) != []
    assert any("still training" in text for text in texts(test, "warning"))


def test_tags_note_and_pin_are_written_on_the_run(open_runs: OpenPage) -> None:
    first, second = written(), written()
    mark(second, Marks(("old", "both")))
    mark(first, Marks(("both",)))
    test = open_runs(runs=f"{first.id}~{second.id}", tool="marks")
    assert test.multiselect(key="tags").value == ["both"]
    test.multiselect(key="tags").set_value(["new"]).run()
    test.toggle(key="all pinned").set_value(True).run()
    assert marks(first) == Marks(("new",), pinned=True)
    assert marks(second) == Marks(("old", "new"), pinned=True)
    assert list(table(test)["Pin"])[:2] == ["★", "★"]
    assert not any(area.label == "Note" for area in test.text_area)
    choose(test, first)
    test.text_area(key="note").set_value("Seen on Monday").run()
    test.toggle(key="all shared").set_value(True).run()
    assert marks(first) == Marks(("new",), "Seen on Monday", pinned=True, shared=True)
    test.text_input(key="filter text").set_value("monday").run()
    assert list(table(test)["Run"]) == [short(first.id)]
    test.text_input(key="filter text").set_value("").run()
    test.selectbox(key="filter tag").set_value("old").run()
    assert list(table(test)["Run"]) == [short(second.id)]


def test_a_tag_that_cannot_be_is_refused_in_words(open_runs: OpenPage) -> None:
    run = written()
    test = open_runs(runs=run.id, tool="marks")
    test.multiselect(key="tags").set_value(["<script>"]).run()
    assert not test.exception
    assert any("A tag contains “<”" in text for text in texts(test, "warning"))
    assert marks(run) == Marks()


@pytest.mark.parametrize("name", ["linked", "mnist-2d"])
def test_what_is_not_ones_own_is_read_only(open_runs: OpenPage, name: str) -> None:
    run_id = written(owner=STRANGER).id if name == "linked" else name
    test = open_runs(runs=run_id, tool="marks")
    assert any("read only" in text for text in texts(test, "info"))
    assert not [field for field in test.multiselect if field.key == "tags"]
    assert next(button for button in test.button if button.label == "Delete").disabled


def drawn(test: AppTest) -> list[Any]:
    """The traces of the figure on the page."""
    components: Any = test.get("bidi_component")
    return json.loads(components[0].proto.json)["figure"]["data"]


def test_curves_of_chosen_runs_are_laid_over_each_other(open_runs: OpenPage) -> None:
    first, second = written(config=with_beta(1.0)), written(-30.0, config=with_beta(4.0))
    test = open_runs(runs=f"{first.id}~{second.id}~mnist-2d")
    assert [trace["name"] for trace in drawn(test)] == [short(first.id), short(second.id)]
    assert any(text.startswith("Without curves: mnist-2d.") for text in texts(test, "caption"))
    assert any("different data" in text for text in texts(test, "caption"))
    choose(test, first, second)
    names = [trace["name"] for trace in drawn(test)]
    assert names == [f"{short(first.id)} (β 1)", f"{short(second.id)} (β 4)"]
    test.pills(key="curve parts").set_value(["held_out", "train"]).run()
    test.pills(key="curve measures").set_value(["elbo", "kl"]).run()
    assert len(drawn(test)) == 8
    assert any("lower bound on log p of the binarised image" in text for text in texts(test, "caption"))


def test_the_plane_shows_held_out_rate_and_distortion(open_runs: OpenPage) -> None:
    first, second = written(), written(-30.0)
    test = open_runs(tool="terms", origin="own")
    points = [trace for trace in drawn(test) if "markers" in trace["mode"]]
    assert {trace["text"][0] for trace in points} == {short(first.id), short(second.id)}
    test = open_runs(tool="terms", runs=f"{second.id}~mnist-2d")
    test.selectbox(key="terms group").set_value("Digits 8×8: lower bound on log p of the binarised image").run()
    (only,) = [trace for trace in drawn(test) if "markers" in trace["mode"]]
    assert [only["x"][0] + only["y"][0]] == pytest.approx([30.0], abs=1e-4)


def test_the_best_recipe_is_found_whatever_the_seed(open_runs: OpenPage) -> None:
    for seed, elbo in enumerate((-24.0, -23.0, -25.0)):
        written(elbo, config=with_beta(1.0, seed))
    for seed, elbo in enumerate((-27.0, -28.0)):
        written(elbo, config=with_beta(4.0, seed))
    written(-1.0, config=with_beta(4.0, 9), state="stopped")
    test = open_runs(tool="best", origin="own")
    found = table(test, 1)
    assert list(found["Recipe"]) == ["β 1", "β 4"]
    assert list(found["Runs"]) == [3, 2]
    assert list(found["Best"]) == [-23.0, -27.0]
    assert list(found["Mean"]) == [-24.0, -27.5]
    low, high = (float(text.replace("−", "-")) for text in found["Mean, 95 %"][0].split(" … "))
    assert low < -24.0 < high
    assert any("1 unfinished run" in text for text in texts(test, "caption"))


def test_test_numbers_of_shipped_models_do_not_compete_with_held_out_ones(open_runs: OpenPage) -> None:
    left = "Shipped models are left out: their numbers are of the test part."
    written(-26.0)
    test = open_runs(tool="best", data="digits")
    assert list(table(test, 1)["Best"]) == [-26.0]
    assert any(left in text for text in texts(test, "caption"))
    test = open_runs(tool="best", origin="shipped")
    assert len(test.dataframe) == 1
    assert any(left in text for text in texts(test, "info"))


def test_the_models_side_by_side_and_that_of_explore_fit_into_memory() -> None:
    assert (_explored.cache_parameters()["maxsize"] or 0) >= MOST + 1


def test_differences_of_two_recipes_are_a_table(open_runs: OpenPage) -> None:
    first, second = written(config=with_beta(1.0)), written(-30.0, config=with_beta(4.0, 3))
    test = open_runs(tool="differences", runs=f"{first.id}~{second.id}")
    found = table(test, 1)
    assert found.to_dict("list") == {
        "Setting": ["β", "seed"],
        short(first.id): ["1", "0"],
        short(second.id): ["4", "3"],
    }
    assert table(test, 2)[short(second.id)][0] == "−30.00"
    choose(test, first)
    assert any("Choose two" in text for text in texts(test, "info"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("1, 2, 3", "z has 3 numbers, but these models take 2."), ("a b", "z cannot be read: “a” is no number")],
)
def test_a_place_that_cannot_be_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_place(text, 2)


def test_a_place_is_read_however_it_is_typed() -> None:
    assert read_place(" 0.5; −1.25 ", 2) == read_place("0.5,-1.25", 2) == (0.5, -1.25)


def test_one_z_is_decoded_by_every_model_of_its_size(open_runs: OpenPage, trained: Callable[..., str]) -> None:
    names = ["digits-2d", "mnist-2d", trained("digits", latent=3)]
    test = open_runs(tool="decoded", runs="~".join(names))
    field = test.text_input(key="same z typed")
    field.set_value("1.5, -0.25").run()
    assert not test.exception
    assert [slider.value for slider in test.slider] == [1.5, -0.25]
    captions = texts(test, "caption")
    assert [any(text.startswith(short(name)) for text in captions) for name in names] == [True, True, False]
    test.slider(key="same z 1").set_value(2.0).run()
    assert test.text_input(key="same z typed").value == "1.5, 2"
    test.segmented_control(key="same z size").set_value(3).run()
    assert any(text.startswith(short(names[2])) for text in texts(test, "caption"))
    assert len(test.slider) == 3


def test_one_example_is_rebuilt_by_every_model_of_its_data(open_runs: OpenPage, trained: Callable[..., str]) -> None:
    names = [trained("digits"), "digits-2d", "mnist-2d"]
    test = open_runs(tool="rebuilt", runs="~".join(names))
    test.number_input(key="same x").set_value(7).run()
    assert not test.exception
    found = table(test, 1)
    assert [text.split()[0] for text in found["Run"]] == [short(name) for name in names[:2]]
    thing = explored(PRETRAINED / "digits-2d")
    terms = terms_of(thing, thing.seen(7), 7)
    assert found["ELBO"][1] == round(terms.elbo.item(), 2)
    assert found["Reconstruction"][1] - found["KL"][1] == pytest.approx(found["ELBO"][1], abs=0.011)
    label = thing.spec.classes[int(thing.data.y[7])]
    assert f"Example 7, “{label}”" in texts(test, "caption")


def test_a_run_that_changed_hands_is_not_deleted(open_runs: OpenPage) -> None:
    """Whose it is counts when it is done, not when the button was drawn."""
    run = written()
    test = open_runs(runs=run.id)
    (run.folder / "owner").write_text(STRANGER)
    press(test, "Delete 1 run")
    assert run.folder.is_dir()
    assert any("belongs to another" in text for text in texts(test, "warning"))


def test_links_and_files_are_offered(open_runs: OpenPage, trained: Callable[..., str]) -> None:
    whole, without = trained("digits"), written().id
    test = open_runs(runs=f"{whole}~{without}", tool="files")
    (link,) = texts(test, "code")
    assert link.endswith(f"/runs?runs={whole}~{without}&tool=files")
    offered = {button.label: button.disabled for button in test.get("download_button")}  # type: ignore[attr-defined]
    assert offered == {f"{short(whole)}.zip": False, f"{short(without)}.zip": True, "TensorBoard": False}
    found = [run for name in (whole, without) if (run := runs.find(name))]
    with zipfile.ZipFile(io.BytesIO(events(found))) as archive:
        assert len(archive.namelist()) == 2


def test_without_tensorboard_its_button_says_how_to_get_it(
    open_runs: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.runs.files.available", lambda: False)
    buttons: Any = open_runs(runs=written().id, tool="files").get("download_button")
    (button,) = (button for button in buttons if button.label == "TensorBoard")
    assert button.disabled
    assert "python -m pip install tensorboard" in button.help


def give(test: AppTest, name: str, data: bytes) -> None:
    """A file into the field for imports."""
    test.file_uploader[0].set_value((name, data, "application/zip")).run()
    assert not test.exception


def test_an_exported_run_is_taken_in_again(open_runs: OpenPage, trained: Callable[..., str]) -> None:
    run = runs.find(trained("digits"))
    assert run is not None
    file = io.BytesIO()
    export(run, file)
    test = open_runs()
    give(test, "run.zip", file.getvalue())
    assert len(runs.listed(OWNER)) == 2
    (copy,) = [found for found in runs.listed(OWNER) if found.id != run.id]
    assert test.multiselect(key="chosen by name").value == [copy.id]
    row = table(test).set_index("Run").loc[short(copy.id)]
    assert (row["From"], row["State"], list(row["Tags"])) == ("Imported", "Finished", ["imported"])
    assert copy.config() == run.config()
    assert any("Imported as" in text for text in texts(test, "success"))


def test_what_is_no_run_is_not_taken_in(open_runs: OpenPage) -> None:
    test = open_runs()
    give(test, "run.zip", b"PK but no zip")
    assert any("zip" in text for text in texts(test, "warning"))
    assert runs.listed(OWNER) == []


def test_who_takes_up_all_the_disk_takes_no_more_in(open_runs: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.runs.taking.used_by", lambda owner: 10**15)
    test = open_runs()
    give(test, "run.zip", b"")
    assert any("Delete runs that you no longer need" in text for text in texts(test, "warning"))


@pytest.fixture
def listed(page: Page, app: App, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Three runs of a browser's owner in the open page of a real server, the newest first."""
    monkeypatch.setenv(runs.RUNS_VARIABLE, str(app.runs))
    key = secrets.token_hex(16)
    found = [written(-23.0 - k, key, with_beta(1.0 + k)) for k in range(3)]
    page.context.add_cookies([{"name": COOKIE, "value": key, "url": app.url}])
    ready(page, f"{app.url}/runs?origin=own")
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    return sorted(found, key=lambda run: run.id, reverse=True)


def click_row(page: Page, number: int) -> None:
    """The box before a row, counted from 0."""
    box = page.locator("[data-testid=stDataFrame]").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 15, box["y"] + ROW_HEIGHT * (number + 1.5))


def test_rows_clicked_lie_over_each_other(page: Page, listed: list[Run]) -> None:
    for number in (0, 2):
        click_row(page, number)
        page.wait_for_url(f"**{listed[number].id}*")
    page.wait_for_url(f"**runs={listed[0].id}~{listed[2].id}*")
    names = page.locator(".live-figure .legendtext")
    expect(names).to_have_count(2, timeout=30_000)
    assert {text.split()[0] for text in names.all_text_contents()} == {short(listed[0].id), short(listed[2].id)}
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 1280
    page.set_viewport_size({"width": 390, "height": 844})
    expect(names).to_have_count(2)
    eventually(lambda: page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390)


def test_what_is_found_is_deleted_and_comes_back(page: Page, listed: list[Run]) -> None:
    page.get_by_role("searchbox", name="Search").fill(listed[1].id)
    page.wait_for_url(f"**text={listed[1].id}*")
    click_row(page, 0)
    page.get_by_role("button", name="Delete 1 run").click()
    expect(page.get_by_text("No run passes this filter.")).to_be_visible(timeout=30_000)
    assert not listed[1].folder.is_dir()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Delete 1 run")).to_be_visible(timeout=30_000)
    assert listed[1].folder.is_dir()
    assert listed[1].rows() != []
