"""The designer's server: who may come in, what it tells pages, and that it reads nothing outside of its folders."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, make_image_directory
from designer.served import COMMAND, Served, designer, project

PIPELINE = "pipelines/train_and_score.yaml"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One designer for all tests that change nothing for long."""
    folder = project(tmp_path_factory.mktemp("designer"))
    output = folder / "runs" / "designer" / "train_and_score" / "run" / "convert"
    make_image_directory(output / "outputs" / "output_image_directory", per_class=5)
    (output / "user_logs").mkdir()
    (output / "user_logs" / "std_log.txt").write_text("first line\n" + "ä" * 200_000 + "\nlast line\n")
    (output / "outputs" / "other").symlink_to(ROOT / "src")
    (output / "outputs" / "page").mkdir()
    (output / "outputs" / "page" / "report.html").write_text("<script>alert(1)</script>")
    with designer(folder, PIPELINE, "--components", folder / "component") as served:
        yield served


# Who may come in


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


@pytest.mark.parametrize(
    "path", ["/", "/api/stream", "/api/palette", "/assets/x.js", "/api/outputs/convert/output_image_directory"]
)
def test_nothing_is_told_without_the_token(served: Served, path: str) -> None:
    for headers in (without(served.headers, "Cookie"), served.headers | {"Cookie": f"designer_vision_{served.port}=guess"}):
        status, _, content = served.ask("GET", path, headers=headers)
        assert (status, json.loads(content)["error"]) == (
            401, "open the address that the terminal printed: it has the token that lets you in",
        )  # fmt: skip


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "[::1]:1", ""])
def test_another_name_for_this_address_is_refused_with_the_token_too(served: Served, host: str) -> None:
    for path in ("/api/palette", f"/?token={served.token}"):
        assert served.ask("GET", path, headers=served.headers | {"Host": host})[0] == 403


def test_the_token_in_the_address_is_taken_once_and_becomes_a_cookie_that_no_other_site_sends(served: Served) -> None:
    fresh = {"Host": f"localhost:{served.port}"}
    status, headers, _ = served.ask("GET", f"/?token={served.token}", headers=fresh)
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"designer_vision_{served.port}={served.token}; HttpOnly; Path=/; SameSite=strict"
    assert served.ask("GET", "/?token=wrong", headers=fresh)[0] == 403
    assert served.ask("GET", f"/api/palette?token={served.token}", headers=fresh)[0] == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", None])
def test_only_the_own_page_may_change_something(served: Served, origin: str | None) -> None:
    headers = without(served.headers, "Origin") | ({"Origin": origin} if origin else {})
    for path in ("run", "save", "edit", "submit", "open"):
        status, _, content = served.ask("POST", f"/api/{path}", {}, headers)
        assert (status, json.loads(content)["error"]) == (403, "only this server's own page may change something")
    assert served.ask("GET", "/api/run")[0] == 404


def test_a_body_that_is_too_large_or_no_json_is_refused(served: Served) -> None:
    assert served.ask("POST", "/api/edit", b"x" * (2**20 + 1))[0] == 413
    assert served.ask("POST", "/api/edit", b"{}", served.headers | {"Content-Type": "text/plain"})[0] == 415
    for body in (
        b"{",
        b"[" * 100_000,
        b'{"revision": "x", "edits": []}',
        b'{"revision": 0, "edits": [{"do": "nothing"}]}',
        b"\xff",
    ):
        status, _, content = served.ask("POST", "/api/edit", body)
        assert status == 422
        assert json.loads(content)["error"].startswith("the request is not understood: ")


def test_every_answer_forbids_scripts_of_others_and_a_report_does_nothing_at_all(served: Served) -> None:
    for path in ("/", "/api/palette", "/api/none"):
        _, headers, _ = served.ask("GET", path)
        assert "script-src 'self'; style-src 'self';" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    status, headers, content = served.ask("GET", "/api/outputs/convert/page/report")
    assert (status, content) == (200, b"<script>alert(1)</script>")
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none';")


@pytest.mark.parametrize(
    "path",
    [
        "/api/outputs/convert/other", "/api/outputs/..%2f..%2f..%2f..%2fcomponent/x", "/api/outputs/convert/..", "/api/logs/%2e%2e",
        "/api/logs/convert/..%2f..%2f..%2fevents.jsonl", "/api/outputs/convert/other/report", "/api/logs/convert/%00",
        "/..%2f..%2fpyproject.toml", "/%2e%2e/command.py",
    ],
)  # fmt: skip
def test_nothing_outside_of_the_run_is_read(served: Served, path: str) -> None:
    status, _, content = served.ask("GET", path)
    assert status in (404, 422)
    assert "error" in json.loads(content)


def test_a_file_that_cannot_be_written_is_one_sentence(served: Served) -> None:
    in_the_way = served.folder / "pipelines" / ".train_and_score.yaml.tmp"
    in_the_way.mkdir()
    status, _, content = served.ask("POST", "/api/save")
    in_the_way.rmdir()
    named = in_the_way.relative_to(served.folder)
    assert (status, json.loads(content)) == (500, {"error": f"{named}: Is a directory; check that file or disk"})


# What it tells


def test_the_palette_has_every_component_with_what_its_yaml_declares(served: Served) -> None:
    palette = {entry["name"]: entry for entry in served.get("palette")}
    assert len(palette) == len(list((ROOT / "component").glob("*.yaml")))
    epochs = next(port for port in palette["train_pytorch_model"]["inputs"] if port["name"] == "epochs")
    assert (epochs["type"], epochs["default"], epochs["min"], epochs["is_data"]) == ("integer", "5", 1, False)
    assert [port["kind"] for port in palette["train_pytorch_model"]["outputs"]] == ["model"]


def test_the_stream_tells_the_graph_and_azures_answer_to_it(served: Served) -> None:
    graph = served.told("graph", lambda graph: not graph["checking"])
    assert (graph["name"], len(graph["steps"]), graph["error"], graph["saved"]) == ("Train and score", 10, None, True)
    assert [problem["text"] for problem in graph["problems"]] == [
        f"images is digits, which does not exist in {served.folder / 'pipelines'}"
    ]


def test_azures_checks_stay_with_the_designer_and_begin_anew_where_they_were_ended(served: Served) -> None:
    served.told("graph", lambda graph: not graph["checking"])
    server = Path(f"/proc/{served.process.pid}")
    processes = (server / "task" / server.name / "children").read_text().split()  # of the thread that stays
    checks = [process for process in processes if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()]
    assert len(checks) == 1
    os.kill(int(checks[0]), signal.SIGKILL)
    revision = served.told("graph", lambda graph: True)["revision"]
    for name in ("Other", "Another"):
        revision = served.post("edit", revision=revision, edits=[{"do": "describe", "text": name}])["revision"]
        graph = served.told("graph", lambda graph: not graph["checking"])
    assert [problem["text"] for problem in graph["problems"] if "do not answer" in problem["text"]] == []
    served.post("undo")
    served.post("undo")


def test_what_steps_have_in_common_travels_once(served: Served) -> None:
    graph = served.told("graph", lambda graph: True)
    assert len({component["id"] for component in graph["components"]}) == len(graph["components"]) < len(graph["steps"])
    train = next(step for step in graph["steps"] if step["name"] == "train")
    declared = [port["name"] for port in graph["components"][train["component"]]["inputs"]]
    assert "patience" in declared
    assert (set(train["values"]) <= set(declared), train["more_inputs"], train["more_outputs"]) == (True, [], [])


def test_an_edit_tells_what_is_wrong_at_the_port_and_every_page_hears_of_it(served: Served) -> None:
    revision = served.told("graph", lambda graph: True)["revision"]
    edit = {"do": "set", "step": "train", "port": "patience", "text": "0"}
    graph = served.post("edit", revision=revision, edits=[edit])
    problem = {"step": "train", "port": "patience", "text": "patience is 0, it must not be below 1", "source": "designer"}
    assert problem in graph["problems"]
    assert problem in served.told("graph", lambda graph: True)["problems"]
    status, _, content = served.ask("POST", "/api/edit", {"revision": revision, "edits": [edit]})
    assert (status, "changed in another window" in json.loads(content)["error"]) == (409, True)
    wrong = {"do": "set", "step": "evaluate", "port": "dataset", "text": None}
    served.post(
        "edit", revision=graph["revision"], edits=[wrong, {"do": "disconnect", "step": "evaluate", "port": "scored_dataset"}]
    )
    found = served.told("graph", lambda graph: not graph["checking"])["problems"]
    assert {
        "step": "evaluate",
        "port": "scored_dataset",
        "text": "scored_dataset needs scored images",
        "source": "designer",
    } in found
    for _ in range(2):
        graph = served.post("undo")
    assert graph["saved"]


def test_only_pipelines_of_the_folder_can_be_opened_and_what_is_unsaved_is_not_lost(served: Served) -> None:
    files = served.get("pipelines")["files"]
    assert PIPELINE in files
    for path in ("/etc/passwd", "component/resnet.yaml", "pipelines/none.yaml"):
        status, _, content = served.ask("POST", "/api/open", {"path": path, "discard": True})
        assert (status, "none of the pipelines" in json.loads(content)["error"]) == (422, True)
    graph = served.post("open", path="pipelines/photos.yaml")
    assert graph["name"] == "Photos"
    graph = served.post("edit", revision=graph["revision"], edits=[{"do": "describe", "text": "Mine"}])
    status, _, content = served.ask("POST", "/api/open", {"path": PIPELINE})
    assert (status, "not saved" in json.loads(content)["error"]) == (409, True)
    assert graph["name"] == "Mine"
    assert served.post("open", path=PIPELINE, discard=True)["name"] == "Train and score"


def test_an_edit_to_the_pipeline_before_is_not_made_to_the_one_that_is_open_now(served: Served) -> None:
    before = served.told("graph", lambda graph: True)["revision"]
    assert served.post("open", path="pipelines/photos.yaml")["revision"] > before
    status, _, _ = served.ask("POST", "/api/edit", {"revision": before, "edits": [{"do": "describe", "text": "Train"}]})
    assert status == 409
    served.post("open", path=PIPELINE)


def test_all_pipelines_open_and_save_to_the_same_bytes(served: Served) -> None:
    for path in served.get("pipelines")["files"]:
        before = (served.folder / path).read_bytes()
        graph = served.post("open", path=path)
        assert graph["error"] is None
        assert graph["steps"]
        served.post("save")
        assert (served.folder / path).read_bytes() == before
    served.post("open", path=PIPELINE)


# What a run wrote


def test_an_output_of_images_has_counts_and_thumbnails(served: Served) -> None:
    output = "outputs/convert/output_image_directory"
    found = served.get(output)
    assert found["images"] == {"total": 15, "labels": [{"label": name, "count": 5} for name in ("blue", "green", "red")]}
    some = served.get(f"{output}/images?label=green&start=3&count=10")
    assert (some["total"], [(image["row"], image["label"]) for image in some["images"]]) == (5, [(8, "green"), (9, "green")])
    status, headers, content = served.ask("GET", f"/api/{output}/thumbnails/8?side=64")
    assert (status, headers["content-type"], content[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")
    assert served.ask("GET", f"/api/{output}/thumbnails/15")[0] == 422
    assert served.ask("GET", f"/api/{output}/images?start=x")[0] == 422
    assert served.get("outputs/train/trained_model") == {
        "exists": False, "title": "trained_model", "lines": [], "report": False, "images": None,
    }  # fmt: skip


def test_a_log_is_read_in_parts_that_never_cut_a_letter(served: Served) -> None:
    assert served.get("logs/convert") == {"names": ["std_log.txt"]}
    expected = "first line\n" + "ä" * 200_000 + "\nlast line\n"
    text, place = "", 0
    while part := served.get(f"logs/convert/std_log.txt?from={place}"):
        if not part["text"]:
            break
        text, place = text + part["text"], part["next"]
    assert text == expected
    assert served.get("logs/convert/std_log.txt?from=-10")["text"] == "last line\n"
    assert served.get("logs/train") == {"names": []}
    assert served.get("logs/train/std_log.txt") == {"text": "", "next": 0}
    assert served.ask("GET", "/api/logs/convert/std_log.txt?from=--3")[0] == 422


@pytest.mark.parametrize(
    "path",
    [
        "logs/sweep/trial_1/pipe.txt", "logs/sweep/trial_1/folder.txt", "logs/sweep/trial_1/away.txt", "logs/sweep/trial_2/std_log.txt",
        "logs/sweep/trial_3/std_log.txt", "logs/sweep/trial_4/std_log.txt", "logs/sweep/trial_1/..", "logs/sweep/a/b/std_log.txt",
        "logs/sweep/trial_1%2f..%2fstd_log.txt", "sweeps/sweep", "sweeps/..", "sweeps/sweep%0a", "sweeps/%00",
    ],
)  # fmt: skip
def test_of_a_sweep_nothing_is_read_but_its_own_files(served: Served, path: str) -> None:
    run = served.folder / "runs" / "designer" / "train_and_score" / "run"
    logs = run / "sweep" / "trial_1" / "user_logs"
    if not logs.exists():
        (logs / "folder.txt").mkdir(parents=True)
        os.mkfifo(logs / "pipe.txt")
        (logs / "std_log.txt").write_text("a line\n")
        (logs / "away.txt").symlink_to(run / "convert" / "user_logs" / "std_log.txt")
        (run / "sweep" / "trial_2").symlink_to(run / "convert")
        (run / "sweep" / "trial_3").mkdir()
        (run / "sweep" / "trial_3" / "user_logs").symlink_to(run / "convert" / "user_logs")
        (run / "sweep" / "trial_4").symlink_to("trial_4")
        (run / "sweep" / "sweep.html").symlink_to("sweep.html")
    assert served.get("logs/sweep") == {"names": ["trial_1/std_log.txt"]}
    assert served.get("logs/sweep/trial_1/std_log.txt")["text"] == "a line\n"
    status, headers, content = served.ask("GET", f"/api/{path}")
    assert (status, list(json.loads(content))) == (422, ["error"])
    assert headers["content-security-policy"].startswith("default-src 'none'")


# The command


def refused(folder: Path, *words: object) -> str:
    result = subprocess.run([COMMAND, "designer", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_a_second_designer_on_the_same_file_is_told_where_the_first_one_is(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(served.folder))
    line = refused(served.folder / "pipelines", "train_and_score.yaml", "--no_browser")
    assert line.endswith(f"train_and_score.yaml is open already; go to {served.address}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_without_a_word_also_while_a_page_is_open(tmp_path: Path, number: signal.Signals) -> None:
    with designer(project(tmp_path), PIPELINE, stderr=subprocess.PIPE) as served:
        page = http.client.HTTPConnection("127.0.0.1", served.port)
        page.request("GET", "/api/stream", headers=served.headers)
        assert page.getresponse().readline() == b"event: graph\n"
        served.process.send_signal(number)
        _, said = served.process.communicate(timeout=30)
        assert (served.process.returncode, said) == (0, "")


def test_a_projects_own_components_are_found_in_its_folder(tmp_path: Path) -> None:
    with designer(project(tmp_path), PIPELINE) as served:
        assert {Path(entry["id"]).parent for entry in served.get("palette")} == {tmp_path / "component"}
        assert not any(step["missing"] for step in served.told("graph", lambda graph: True)["steps"])


def test_a_runtime_folder_that_is_gone_is_no_reason_not_to_start(tmp_path: Path) -> None:
    with designer(project(tmp_path), PIPELINE, XDG_RUNTIME_DIR=str(tmp_path / "gone"), TMPDIR=str(tmp_path)):
        pass


def test_a_file_that_changed_on_disk_is_not_run(tmp_path: Path) -> None:
    with designer(project(tmp_path), PIPELINE) as served:
        (tmp_path / PIPELINE).write_text("type: pipeline\njobs: {}\n")
        status, _, content = served.ask("POST", "/api/run")
        assert (status, "was changed by another program" in content.decode()) == (409, True)


def test_what_cannot_be_opened_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert "is a folder; give a pipeline's YAML in it" in refused(tmp_path, tmp_path)
    assert "nowhere is not a folder of components" in refused(tmp_path, "--components", "nowhere")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot be used (Address already in use); give another --port" in refused(
            tmp_path, "--port", taken.getsockname()[1]
        )
    (tmp_path / "large.yaml").write_bytes(b"a" * (2**20 + 1))
    assert "has more than 1,048,576 bytes" in refused(tmp_path, "large.yaml")


def test_the_command_line_does_not_load_the_server(tmp_path: Path) -> None:
    code = "import sys, designer_vision.pipeline.command_line; print([n for n in ('starlette', 'uvicorn', 'torch') if n in sys.modules])"
    loaded: Any = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "starlette" not in loaded
    assert "uvicorn" not in loaded
    assert "torch" not in loaded
