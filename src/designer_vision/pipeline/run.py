"""A run as a person sees it: checked first, shown while it goes on, and at its end what came of it and what to do next."""

from __future__ import annotations

import atexit
import gc
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from designer_vision.pipeline.checks import check
from designer_vision.pipeline.display import final_table, open_console, shown, trials_table, warnings_of
from designer_vision.pipeline.events import Events, open_events
from designer_vision.pipeline.experiment import Experiment
from designer_vision.pipeline.graph import Graph, load_graph
from designer_vision.pipeline.results import reports, result_line, tables
from designer_vision.pipeline.run_folder import refuse_running, run_folder
from designer_vision.pipeline.runner import Runner, States
from designer_vision.pipeline.yaml_files import experiment_name
from designer_vision.runtime.console import printable
from designer_vision.runtime.errors import DesignerError, FileSystemError, PipelineError
from designer_vision.runtime.files import at_home


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts as they stand behind --input."""
    found = {}
    for text in texts:
        match = re.fullmatch(r"([\w.]+)=(.*)", text, re.DOTALL)
        if not match:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--input")
        found[match[1]] = match[2]
    return found


def run_pipeline(
    pipeline: Path, inputs: Mapping[str, str], output_dir: Path, words: Sequence[str], events_to: str | None = None
) -> Runner:
    """Run a pipeline, and leave this process with an exit code where it does not come to its end.

    Args:
        pipeline: its YAML.
        inputs: other values for its inputs.
        output_dir: where all steps write; of an earlier run, to resume it.
        words: of this command, without --output_dir, to be printed for resuming it.
        events_to: a file that gets what the run tells as JSON lines; `-` is standard output, and people then read standard error.
    """
    atexit.register(gc.freeze)  # what azure-ai-ml and MLflow leave takes more than a second to be collected at the exit
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder, console = at_home(output_dir).absolute(), open_console(to_stderr=events_to == "-")
    resume = printable(f"to resume: {command(*words, '--output_dir', short(folder))}")
    events, runner = Events(None), None
    try:
        events = Events(open_events("-" if events_to == "-" else None))
        refuse_running(folder)  # whose events may be in the file that is begun anew
        events = Events(open_events(events_to))
        remarks = check(pipeline, inputs)
        experiment = Experiment(experiment_name(pipeline))
        graph = load_graph(pipeline, inputs)
        refuse_overlap(graph, folder)
        console.print(f"{printable(str(pipeline))} in {short(folder)}", soft_wrap=True)
        events.begin(pipeline, folder, os.getpid(), graph)
        for remark in remarks:
            console.print(f"warning: {printable(remark)}", soft_wrap=True)
            events.remark(remark)
        with run_folder(folder, pipeline, inputs):
            experiment.open(folder)
            with shown(console, graph.steps) as show:
                runner = _runner(graph, folder, experiment, console, show, events)
                runner.run()
    except (DesignerError, OSError) as error:
        _print_so_far(console, runner)
        click.echo(line_of(error), err=True)
        if runner:
            click.echo(resume, err=True)
        _end_badly(events, runner, "failed", line_of(error))
        sys.exit(1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # another one ends at once, and shows no traceback
        _print_so_far(console, runner)
        click.echo(f"stopped; {resume}", err=True)
        _end_badly(events, runner, "stopped", None)
        sys.exit(130)
    _print_end(console, runner, experiment)
    events.end("finished", result=result_line(graph.steps, runner), reports=_finished_reports(runner))
    return runner


def _runner(
    graph: Graph, folder: Path, experiment: Experiment, console: Console, show: Callable[[States], None], events: Events
) -> Runner:
    """What runs the graph, and tells people and programs alike how it stands."""

    def tell(states: States) -> None:
        show(states)
        events.states(states)

    def say(line: str) -> None:
        console.print(printable(line), soft_wrap=True)
        events.remark(line)

    return Runner(graph, folder, experiment, tell, say)


def _end_badly(events: Events, runner: Runner | None, phase: str, error: str | None) -> None:
    with suppress(OSError):  # what failed may be the file of the events
        events.end(phase, error=error, reports=_finished_reports(runner) if runner else [])


def refuse_overlap(graph: Graph, folder: Path) -> None:
    """Refuse an output folder in which an input lies, or which lies in one: the run would remove or change what it reads.

    Raises:
        PipelineError: with both folders.
    """
    output = folder.resolve()
    for step in graph.steps:
        for port, value in step.inputs.items():
            if isinstance(value, Path) and value.exists():
                data = value.resolve()
                if output.is_relative_to(data) or data.is_relative_to(output):
                    raise PipelineError(
                        f"{step.name}.{port} is {value}, and the output folder {folder} lies in it or holds it; "
                        "give another --output_dir"
                    )


def line_of(error: DesignerError | OSError) -> str:
    """The line that tells of an error; one of a disk's own names the file."""
    if isinstance(error, OSError):
        error = FileSystemError(f"{error}; check that file or disk and run the same command again")
    return error.line()


def _print_end(console: Console, runner: Runner, experiment: Experiment) -> None:
    _print_steps(console, runner)
    for table in tables(runner.graph.steps, runner):
        console.print(f"labels: {short(table)}", soft_wrap=True)
    if experiment.uri.startswith("sqlite:"):
        mlflow = short(Path(sys.executable).parent / "mlflow")
        store = f"sqlite:///{short(runner.folder / 'mlflow.db')}"
        console.print(f"metrics: {shlex.join([mlflow, 'ui', '--backend-store-uri', store])}", soft_wrap=True)
    if (line := result_line(runner.graph.steps, runner)) is not None:
        console.print(line)
    _print_reports(console, runner)


def _print_so_far(console: Console, runner: Runner | None) -> None:
    """What a run that does not come to its end has done; whoever read it may have been interrupted with it."""
    if runner is not None:
        with suppress(OSError, SystemExit):  # rich ends the process where a pipe is broken
            _print_steps(console, runner)
            _print_reports(console, runner)


def _print_steps(console: Console, runner: Runner) -> None:
    """What each step came to, and the warnings of all."""
    if not console.is_interactive:  # a terminal shows the table already
        console.print(final_table(runner.states))
    for name, state in runner.states.items():
        if state.sweep and state.sweep.trials:
            console.print(printable(f"trials of {name}, by {state.sweep.objective.metric}:"), soft_wrap=True)
            console.print(trials_table(state.sweep))
    for warning in warnings_of(runner.states):
        console.print(warning, soft_wrap=True)


def _print_reports(console: Console, runner: Runner) -> None:
    """The pages of the steps that are finished, also where a later one failed."""
    for page in _finished_reports(runner):
        console.print(f"report: {short(page)}", soft_wrap=True)


def _finished_reports(runner: Runner) -> list[Path]:
    finished = [step for step in runner.graph.steps if runner.states[step.name].phase in ("finished", "reused")]
    return reports(finished, runner)


def command(*words: str) -> str:
    """A line to paste into a shell, which works wherever this environment is not activated."""
    return shlex.join([short(Path(sys.executable).parent / "designer-vision"), *words])


def short(path: Path) -> str:
    """A path relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return printable(relative if len(relative) < len(str(path)) else str(path))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
