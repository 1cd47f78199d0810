"""The designer in a real browser: drag, connect, set, see what is wrong, save, run and watch; by mouse, and by keys alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from conftest import BROWSER, make_photos, needs_browser
from designer.served import Served, designer, project, wait_until
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = needs_browser
SLOW = 30_000
"""Milliseconds that anything may take where other tests run too."""
LEARN = """
type: command
name: learn
version: 1
display_name: Learn
description: Prints what a training prints.
inputs:
  photos: {type: uri_folder}
  seconds: {type: number, default: 0, min: 0, max: 600}
outputs:
  trained_model: {type: uri_folder}
code: .
environment: {image: python}
command: python learn.py "${{inputs.photos}}" ${{inputs.seconds}} "${{outputs.trained_model}}"
"""
WORK = """
import json, pathlib, sys, time
photos, seconds, out = sys.argv[1:]
for epoch in (1, 2):
    print(f"epoch {epoch}/2 | 60.0 images/s | train loss 0.5000 | valid loss 0.4000 | top-1 0.7{epoch}00 | top-5 1.0000", flush=True)
    time.sleep(float(seconds) / 2)
pathlib.Path(out, "metrics.jsonl").write_text(json.dumps({"top-1": 1 - float(seconds)}))
pathlib.Path(out, "report.html").write_text("<h1>What was learned</h1><script>document.title = 'taken'</script>")
"""
PIPELINE = """\
type: pipeline
settings: {default_compute: serverless}

inputs:
  photos: {type: uri_folder, path: photos}

jobs:
  learn: # a while
    type: command
    component: ../component/learn.yaml
    inputs:
      photos: ${{parent.inputs.photos}}
"""
SWEEP = """\
type: pipeline
settings: {default_compute: serverless}
inputs:
  photos: {type: uri_folder, path: photos}
jobs:
  search:
    type: sweep
    trial: ../component/learn.yaml
    inputs: {photos: "${{parent.inputs.photos}}"}
    search_space: {seconds: {type: choice, values: [0.25, 0.125]}}
    sampling_algorithm: grid
    objective: {primary_metric: top-1, goal: maximize}
    limits: {max_total_trials: 2}
"""
HOSTILE = {
    "markup": "<img src=x onerror=\"document.title='taken'\">",
    "right to left": "\u202egnp.exe",
    "long": "w" * 300,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one component more, which takes no time."""
    folder = project(tmp_path_factory.mktemp("project"))
    (folder / "component" / "learn.yaml").write_text(LEARN)
    (folder / "component" / "learn.py").write_text(WORK)
    make_photos(folder / "pipelines" / "photos", per_class=3)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    """One designer, on a file that each test writes anew."""
    (folder / "pipelines" / "mine.yaml").write_text(PIPELINE)
    with designer(folder, "pipelines/mine.yaml", "--components", "component") as served:
        yield served


@pytest.fixture
def mine(served: Served) -> Path:
    """The open file, as it was at first."""
    file = served.folder / "pipelines" / "mine.yaml"
    opened(served, file, PIPELINE)
    return file


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(served.address)
        yield page
        assert faults == []


def opened(served: Served, file: Path, text: str) -> None:
    """Write the open file, and have the designer load it."""
    file.write_text(text)
    file.with_suffix(".layout.json").unlink(missing_ok=True)
    served.post("reload")


def entry(page: Page, title: str) -> Any:
    """A component of the palette."""
    return page.locator(".entry", has=page.get_by_text(title, exact=True))


def node(page: Page, name: str) -> Any:
    return page.locator(f'.react-flow__node[data-id="{name}"]')


def handle(page: Page, name: str, port: str) -> Any:
    return page.locator(f'.react-flow__handle[data-nodeid="{name}"][data-handleid="{port}"]')


def drag(page: Page, start: Any, end: Any) -> None:
    """From the middle of one thing to the middle of another, in steps as a hand moves."""
    one, other = start.bounding_box(), end.bounding_box()
    page.mouse.move(one["x"] + one["width"] / 2, one["y"] + one["height"] / 2)
    page.mouse.down()
    page.mouse.move(other["x"] + other["width"] / 2, other["y"] + other["height"] / 2, steps=8)
    page.mouse.up()


def field(page: Page, name: str) -> Any:
    return page.get_by_role("complementary").locator("input").and_(page.get_by_label(name)).first


def written(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def test_a_component_is_dragged_connected_set_and_saved(page: Page, mine: Path) -> None:
    canvas = page.locator(".react-flow__pane")
    expect(node(page, "step:learn")).to_be_visible()
    entry(page, "Split Image Directory").drag_to(canvas, target_position={"x": 150, "y": 500})
    expect(node(page, "step:split_image_directory")).to_be_visible()
    page.keyboard.press("Escape")
    drag(
        page,
        page.locator('.react-flow__handle[data-nodeid="input:photos"]'),
        handle(page, "step:split_image_directory", "input_image_directory"),
    )
    node(page, "step:split_image_directory").click()
    fraction = field(page, "fraction")
    fraction.fill("2")
    fraction.press("Enter")
    expect(page.get_by_text("fraction is 2, it must").first).to_be_visible()
    fraction.fill("0.8")
    fraction.press("Enter")
    expect(page.get_by_text("fraction is 2, it must")).to_have_count(0)
    page.keyboard.press("Control+s")
    wait_until(lambda: "0.8" in mine.read_text())
    assert mine.read_text() == PIPELINE + (
        "  split_image_directory:\n    type: command\n    component: ../component/split_image_directory.yaml\n    inputs:\n"
        "      input_image_directory: ${{parent.inputs.photos}}\n      fraction: 0.8\n"
    )


def test_a_port_of_another_kind_takes_no_edge_and_the_page_says_why(page: Page, mine: Path) -> None:
    entry(page, "Init Image Transformation").dblclick()
    entry(page, "Score Image Model").dblclick()
    expect(node(page, "step:score_image_model")).to_be_visible()
    page.get_by_role("button", name="Lay out", exact=True).click()
    page.wait_for_timeout(600)  # the nodes move there
    source = handle(page, "step:init_image_transformation", "output_image_transformation")
    drag(page, source, handle(page, "step:score_image_model", "trained_model"))
    page.keyboard.press("Control+s")
    wait_until(lambda: "score_image_model" in mine.read_text())
    assert "inputs" not in written(mine)["jobs"]["score_image_model"]
    node(page, "step:score_image_model").click()
    expect(page.get_by_text("trained_model needs a model").first).to_be_visible()


def test_undo_takes_everything_back_and_redo_makes_it_again(page: Page, mine: Path) -> None:
    node(page, "step:learn").click()
    page.keyboard.press("Delete")
    expect(node(page, "step:learn")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(node(page, "step:learn")).to_be_visible()
    page.get_by_role("button", name="Redo").click()
    expect(node(page, "step:learn")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(node(page, "step:learn")).to_be_visible()
    assert mine.read_text() == PIPELINE


def tab_to(page: Page, kind: str, name: str) -> None:
    """Press Tab until the element of that kind and name has the focus."""
    told = """() => {
        const focused = document.activeElement
        const labels = [...(focused.labels ?? [])].map((label) => label.textContent)
        return [focused.tagName, focused.ariaLabel, focused.textContent, ...labels].join(" ")
    }"""
    for _ in range(120):
        found = page.evaluate(told)
        if found.startswith(kind) and name in found:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {name}")


def test_a_pipeline_is_built_run_and_watched_by_keys_alone(page: Page, served: Served, mine: Path) -> None:
    opened(served, mine, PIPELINE.partition("\njobs:")[0] + "\njobs: {}\n")
    expect(node(page, "step:learn")).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("learn")
    page.keyboard.press("Enter")
    expect(node(page, "step:learn")).to_be_visible()
    if not page.get_by_role("complementary", name="Step learn").is_visible():
        tab_to(page, "DIV", "step learn")
        page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Step learn")).to_be_visible()
    tab_to(page, "SELECT", "photos")
    page.keyboard.type("photos")
    wait_until(lambda: served.told("graph", lambda graph: True)["edges"] != [])
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("dialog")).to_contain_text("designer-vision run pipelines/mine.yaml")
    tab_to(page, "BUTTON", "Run")
    page.keyboard.press("Enter")
    expect(node(page, "step:learn")).to_contain_text("finished", timeout=2 * SLOW)
    expect(node(page, "step:learn")).to_contain_text("72.0 %")
    assert written(mine)["jobs"]["learn"]["inputs"] == {"photos": "${{parent.inputs.photos}}"}


def test_a_run_shows_its_curves_its_log_and_its_report_which_can_do_nothing(page: Page, served: Served, mine: Path) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Run").click()
    served.told("run", lambda run: run["phase"] == "finished" and run["steps"]["learn"]["phase"] in ("finished", "reused"))
    node(page, "step:learn").click()
    page.get_by_role("tab", name="Log").click()
    expect(page.get_by_text("epoch 2/2 | 60.0 images/s").first).to_be_visible()
    page.get_by_role("tab", name="Report").click()
    expect(page.frame_locator("iframe.report").get_by_role("heading")).to_have_text("What was learned")
    assert page.title() != "taken"
    served.post("edit", revision=served.told("graph", lambda graph: True)["revision"], edits=[
        {"do": "set", "step": "learn", "port": "seconds", "text": "0.5"},
    ])  # fmt: skip
    served.post("run")
    served.told("run", lambda run: run["phase"] == "finished" and len(run["steps"]["learn"]["epochs"]) == 2)
    page.get_by_role("tab", name="Curves").click()
    expect(page.get_by_role("img", name="top-1 by epoch")).to_be_visible()


def test_a_sweep_shows_its_trials_the_log_of_each_and_its_page(page: Page, served: Served, mine: Path) -> None:
    opened(served, mine, SWEEP)
    served.post("run")
    run = served.told("run", lambda run: run["phase"] in ("finished", "failed"))
    assert run["error"] is None
    node(page, "step:search").click()
    expect(page.locator(".pane").get_by_text("tried by the sweep")).to_be_visible()
    expect(page.locator(".pane .fault-text")).to_have_count(0)
    page.get_by_role("tab", name="Trials").click()
    trials = page.get_by_role("region", name="trials of the sweep").get_by_role("row")
    expect(trials).to_have_count(3)
    expect(trials.nth(0)).to_contain_text("seconds")
    expect(trials.filter(has_text="the best")).to_contain_text("0.125")
    page.get_by_role("tab", name="Log").click()
    page.get_by_role("tab", name="trial_2/").click()
    expect(page.get_by_text("epoch 2/2 | 60.0 images/s").first).to_be_visible()
    page.get_by_role("tab", name="Report").click()
    expect(page.frame_locator("iframe.report").get_by_role("heading").first).to_have_text("Sweep search")
    page.get_by_role("tablist", name="Reports").get_by_role("tab", name="trained_model").click()
    expect(page.frame_locator("iframe.report").get_by_role("heading")).to_have_text("What was learned")


def test_what_another_page_and_another_program_change_is_seen_and_not_overwritten(
    page: Page, browser: Browser, served: Served, mine: Path
) -> None:
    with browser.new_context() as context:
        other = context.new_page()
        other.goto(served.address)
        entry(other, "ResNet").dblclick()
        expect(node(page, "step:resnet")).to_be_visible()
    theirs = PIPELINE + "# theirs\n"
    mine.write_text(theirs)
    expect(page.get_by_text("changed on disk").first).to_be_visible()
    page.keyboard.press("Control+s")
    page.wait_for_timeout(500)  # whatever it would do
    assert mine.read_text() == theirs


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_nothing_else(page: Page, served: Served, mine: Path, name: str) -> None:
    job = {"type": "command", "component": {"type": "command", "name": "x", "display_name": HOSTILE[name], "command": "true"}}
    content = {"type": "pipeline", "display_name": HOSTILE[name], "jobs": {"learn": job}}
    opened(served, mine, yaml.safe_dump(content))
    expect(node(page, "step:learn")).to_contain_text(HOSTILE[name][:20])
    assert page.title() != "taken"
    assert page.locator(".react-flow__node img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_file_that_is_no_pipeline_is_said_in_its_own_words(page: Page, served: Served, mine: Path) -> None:
    opened(served, mine, "type: pipeline\njobs: [unclosed\n")
    expect(page.get_by_text("is not readable YAML").first).to_be_visible()
    assert mine.read_text() == "type: pipeline\njobs: [unclosed\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out_by_the_page(browser: Browser, served: Served, mine: Path, scheme: Any) -> None:
    assert mine.exists()
    with browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(served.address)
        node(page, "step:learn").click()
        expect(page.get_by_role("complementary", name="Step learn")).to_be_visible()
        found = Axe().run(page).response["violations"]
        assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []


def test_names_that_every_object_of_a_page_has_are_names_like_others(page: Page, served: Served, mine: Path) -> None:
    component = {"type": "command", "name": "x", "inputs": {"constructor": {"type": "integer", "default": 1}}, "command": "true"}
    jobs = {"constructor": {"type": "command", "component": component}}
    opened(served, mine, yaml.safe_dump({"type": "pipeline", "jobs": jobs}))
    node(page, "step:constructor").click()
    expect(field(page, "constructor")).to_have_value("")


def test_a_name_that_is_changed_takes_the_focus_the_place_and_the_selection_with_it(page: Page, mine: Path) -> None:
    assert mine.exists()
    node(page, "step:learn").click()
    field(page, "Name").fill("teach")
    field(page, "Name").press("Tab")
    expect(page.get_by_role("complementary", name="Step teach")).to_be_visible()
    expect(page.locator(".pane select").first).to_be_focused()
    node(page, "input:photos").click()
    place = node(page, "input:photos").bounding_box()
    name = field(page, "name of input photos")
    name.fill("pictures")
    name.press("Enter")
    expect(node(page, "input:pictures")).to_be_visible()
    assert node(page, "input:pictures").bounding_box() == place
    expect(field(page, "name of input pictures")).to_be_focused()


def test_a_name_that_is_refused_after_its_field_was_left_is_said(page: Page, mine: Path) -> None:
    assert mine.exists()
    node(page, "step:learn").click()
    field(page, "Name").fill("No Name")
    page.locator(".react-flow__pane").click(position={"x": 30, "y": 500})
    expect(page.locator(".notices")).to_contain_text("is not a name that Azure ML takes")


def test_a_value_that_is_typed_back_before_the_answer_is_the_one_that_is_kept(page: Page, served: Served, mine: Path) -> None:
    opened(served, mine, PIPELINE + "      seconds: 0.5\n")
    node(page, "step:learn").click()
    held: list[Any] = []
    page.route("**/api/edit", lambda route: held.append(route), times=1)
    seconds = field(page, "seconds")
    expect(seconds).to_have_value("0.5")
    with page.expect_request("**/api/edit"):
        seconds.fill("0.25")
    seconds.fill("0.5")
    before = served.told("graph", lambda graph: True)["revision"]
    held[0].continue_()
    seconds.press("Tab")
    graph = served.told("graph", lambda graph: graph["revision"] == before + 2)
    assert graph["steps"][0]["values"]["seconds"] == {"text": "0.5"}
    expect(seconds).to_have_value("0.5")


def test_the_focus_stays_where_it_was_after_a_dialog_and_a_choice_which_ctrl_z_takes_back(page: Page, mine: Path) -> None:
    assert mine.exists()
    button = page.get_by_role("button", name="Open", exact=True)
    for ending in ("Escape", "Enter"):
        button.click()
        expect(page.get_by_role("dialog")).to_contain_text("mine.yaml")
        if ending == "Enter":
            page.get_by_role("button", name="Close", exact=True).focus()
        page.keyboard.press(ending)
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(button).to_be_focused()
    node(page, "step:learn").click()
    source = page.get_by_label("where seconds comes from")
    source.focus()
    source.select_option("new")
    expect(source).to_have_value("input:seconds")
    expect(source).to_be_focused()
    page.keyboard.press("Control+z")
    expect(source).to_have_value("value")


def test_a_component_is_added_by_the_space_bar_too(page: Page, mine: Path) -> None:
    assert mine.exists()
    entry(page, "ResNet").focus()
    page.keyboard.press("Space")
    expect(node(page, "step:resnet")).to_be_visible()
    entry(page, "ResNet").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(node(page, "step:resnet_3")).to_be_visible()
    boxes = [node(page, f"step:resnet{number}").bounding_box() for number in ("_2", "_3")]
    assert boxes[0] != boxes[1]


def test_what_is_said_of_a_port_goes_with_it(page: Page, mine: Path) -> None:
    assert mine.exists()
    node(page, "step:learn").click()
    handle(page, "step:learn", "photos").hover()
    expect(page.get_by_role("tooltip")).to_be_visible()
    page.keyboard.press("Delete")
    expect(node(page, "step:learn")).to_have_count(0)
    expect(page.get_by_role("tooltip")).to_have_count(0)


def test_a_log_that_is_begun_anew_is_shown_anew(page: Page, served: Served, mine: Path) -> None:
    log = served.folder / "runs" / "designer" / "mine" / "run" / "learn" / "user_logs" / "std_log.txt"
    assert mine.exists()
    served.post("run")
    served.told("run", lambda run: run["phase"] == "finished")
    log.write_text("the first run\n" * 20)
    node(page, "step:learn").click()
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("pre.log")).to_contain_text("the first run")
    log.write_text("the second run\n")
    expect(page.locator("pre.log")).to_have_text("the second run\n")


def test_a_log_that_comes_while_its_step_runs_is_there(page: Page, served: Served, mine: Path) -> None:
    opened(served, mine, PIPELINE + "      seconds: 60\n")
    served.post("run")
    served.told("run", lambda run: run["steps"].get("learn", {}).get("phase") == "running")
    node(page, "step:learn").click()
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("pre.log")).to_contain_text("epoch 1/2")
    logs = served.folder / "runs" / "designer" / "mine" / "run" / "learn" / "user_logs"
    (logs / "late.txt").write_text("I am late\n")
    page.get_by_role("tab", name="late.txt").click()
    expect(page.locator("pre.log")).to_have_text("I am late\n")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()


def test_the_map_shows_how_the_run_goes(page: Page, served: Served, mine: Path) -> None:
    assert mine.exists()
    expect(node(page, "step:learn")).to_be_visible()
    page.mouse.move(300, 300)
    page.mouse.down()
    page.mouse.move(300, 700, steps=8)  # the canvas, until the step is out of sight
    page.mouse.up()
    drawn = page.locator(".react-flow__minimap-node")
    expect(drawn.first).to_be_visible()
    served.post("run")
    served.told("run", lambda run: run["phase"] == "finished")
    expect(drawn.and_(page.locator(".phase-finished, .phase-reused"))).to_have_count(1)


def test_a_name_of_two_words_is_heard(page: Page, served: Served, mine: Path) -> None:
    opened(served, mine, PIPELINE.replace("learn: # a while", '"two words": # a while'))
    expect(page.get_by_role("group", name="step two words")).to_be_visible()


def test_a_component_that_is_written_meanwhile_is_there_when_one_comes_back(page: Page, served: Served, mine: Path) -> None:
    assert mine.exists()
    expect(entry(page, "ResNet")).to_be_visible()
    file = served.folder / "component" / "later.yaml"
    file.write_text(LEARN.replace("name: learn", "name: later").replace("Learn", "Written later"))
    try:
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        expect(entry(page, "Written later")).to_be_visible()
    finally:
        file.unlink()


def test_what_is_wrong_with_a_value_is_heard(page: Page, mine: Path) -> None:
    assert mine.exists()
    node(page, "step:learn").click()
    field(page, "seconds").fill("601")
    expect(page.locator('.pane [aria-live="polite"]', has_text="seconds is 601, it must not be above 600")).to_be_visible()


def test_each_tab_of_what_a_step_made_is_for_everybody(page: Page, served: Served, mine: Path) -> None:
    assert mine.exists()
    served.post("run")
    served.told("run", lambda run: run["phase"] in ("finished", "failed"))
    node(page, "step:learn").click()
    for tab in ("Outputs", "Log", "Report", "Command"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        found = Axe().run(page).response["violations"]
        assert [(tab, fault["id"]) for fault in found if fault["impact"] in ("serious", "critical")] == []


def test_a_run_goes_on_without_the_server_and_the_next_one_finds_it(folder: Path) -> None:
    file = folder / "pipelines" / "long.yaml"
    file.write_text(PIPELINE + "      seconds: 12\n")
    with designer(folder, "pipelines/long.yaml") as first:
        first.post("run")
        first.told("run", lambda run: run["steps"].get("learn", {}).get("phase") == "running")
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    with designer(folder, "pipelines/long.yaml") as second:
        assert second.told("run", lambda run: True)["phase"] == "running"
        status, _, content = second.ask("POST", "/api/run", {})
        assert (status, json.loads(content)["error"]) == (422, "the pipeline runs already; stop it first")
        run = second.told("run", lambda run: run["phase"] != "running")
        assert (run["phase"], run["steps"]["learn"]["phase"], len(run["steps"]["learn"]["epochs"])) == ("finished", "finished", 2)


def test_a_run_is_stopped_and_its_steps_with_it(folder: Path) -> None:
    file = folder / "pipelines" / "stopped.yaml"
    file.write_text(PIPELINE + "      seconds: 300\n")
    with designer(folder, "pipelines/stopped.yaml") as served:
        served.post("run")
        served.told("run", lambda run: run["steps"].get("learn", {}).get("phase") == "running")
        served.post("stop")
        run = served.told("run", lambda run: run["phase"] == "stopped")
        assert run["steps"]["learn"]["phase"] == "stopped"
