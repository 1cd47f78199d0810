from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.pipeline.log import MOST_BYTES, MOST_EPOCHS, Figures, Log, Logs, after

ITERATION = (
    "epoch 2/5 iteration 30/100 | 183.3 images/s | loss 1.2345 | error 0.4321 | learning rate 0.05 | 0:00:31 left"
)  # fmt: skip
KEPT = "kept epoch 1/2 | valid loss 0.1234 | top-1 0.9778 | top-5 1.0000 | 0:00:09 | /out/trained_model"
EPOCH = "epoch 2/5 | 180.1 images/s | train loss 0.9000 | valid loss 0.8000 | top-1 0.9123 | top-5 0.9923"
IMAGES = "1200/6000 images | 1032.1 images/s | 0:00:05 left"


@pytest.mark.parametrize("rank", ["", "rank 0: ", "rank 12: "])
def test_lines_of_a_training_and_of_components_over_images_are_understood(rank: str) -> None:
    assert after(Figures(), rank + ITERATION) == Figures(0.26, 183.3, 1.2345, None, "0:00:31", (), ITERATION)
    assert after(Figures(), rank + EPOCH) == Figures(0.4, 180.1, 0.9, 0.9123, "", (EPOCH,), EPOCH)
    assert after(Figures(), rank + IMAGES) == Figures(0.2, 1032.1, None, None, "0:00:05", (), IMAGES)


def test_a_figure_stays_until_another_line_has_a_new_one() -> None:
    figures = Figures()
    for line in (ITERATION, EPOCH, "warning: rank 1 is slow", ITERATION.replace("epoch 2", "epoch 3")):
        figures = after(figures, line)
    assert figures == Figures(
        pytest.approx(0.46), 183.3, 1.2345, 0.9123, "0:00:31", (EPOCH,), figures.last_line, ("rank 1 is slow",)
    )


def test_warnings_are_kept_each_once_and_not_without_end() -> None:
    figures = Figures()
    for number in range(100):
        for rank in ("rank 0: ", ""):
            figures = after(figures, f"{rank}warning: {number // 2} {'x' * 1000}")
    assert len(figures.warnings) == 21
    assert figures.warnings[1].startswith("1 xxx")
    assert all(len(warning) <= 600 for warning in figures.warnings)
    assert figures.warnings[-1] == "there are more in its log"


def test_warnings_of_all_processes_count_and_the_figures_of_the_first(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "ab"]
    logs = Logs(paths)
    paths[1].write_text("rank 1: warning: little memory\nrank 1: epoch 1/9 | loss 9\n")
    assert (logs.poll().warnings, logs.poll().loss) == (("little memory",), None)
    paths[0].write_text(f"rank 0: {EPOCH}\nrank 0: warning: few images\nrank 0: warning: little memory\n")
    assert (logs.poll().warnings, logs.poll().loss) == (("little memory", "few images"), 0.9)


def test_in_the_end_the_top_1_is_that_of_the_kept_epoch_and_the_speed_that_of_the_whole() -> None:
    assert after(after(Figures(), EPOCH), KEPT).top1 == 0.9778
    assert after(after(Figures(), IMAGES), "6000 images transformed, 1040.5 images/s").images_per_second == 1040.5
    assert after(Figures(), "my own program: 42.5 images/s on average").images_per_second == 42.5


def test_a_time_of_days_is_one() -> None:
    assert after(Figures(), ITERATION.replace("0:00:31", "2 days, 3:04:05")).left == "2 days, 3:04:05"
    assert after(Figures(), ITERATION.replace("0:00:31", "1 day, 0:00:00")).left == "1 day, 0:00:00"


@pytest.mark.parametrize(
    "line",
    [
        "notice: no validation image has the classes epoch 5/5 | top-1 1.0000",
        "  epoch 5/5 | top-1 1.0000",
        "epoch 5/5: top-1 1.0000",
        "error: kept epoch 1/1 | valid loss 0.1 | top-1 1.0000 | top-5 1.0000 | 0:00:01 | x",
        "0/0 images | loss 1",
        "epoch 1/0 iteration 1/1 | loss 1",
        f"epoch {'9' * 5000}/{'9' * 5000} | top-1 0.5",
        "epoch ３/５ | top-1 0.5",
        "epoch 1 / 2 | top-1 0.5",
        "[bold]epoch[/] | \x1b[2J",
        "",
    ],
)
def test_other_lines_change_the_last_line_only(line: str) -> None:
    figures = after(after(Figures(), ITERATION), EPOCH)
    assert after(figures, line) == replace(figures, last_line=line)


@pytest.mark.parametrize(
    "line", ["epoch 1/2 | loss nan", "epoch 1/2 | loss inf", "epoch 1/2 | loss 1e400", "epoch 1/2 | loss -1"]
)
def test_what_is_no_number_is_none(line: str) -> None:
    assert after(Figures(), line).loss is None


def test_the_share_is_never_more_than_the_whole() -> None:
    assert after(Figures(), "9/5 images").share == 1
    assert after(Figures(), "epoch 0/5 iteration 0/10").share == 0


PIECES = [
    "epoch ",
    "1",
    "/",
    "0",
    " iteration ",
    " images",
    " | ",
    " images/s",
    "loss ",
    "top-1 ",
    "0:00:01 left",
    "rank 1: ",
    ".",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=12).map("".join))
def test_no_line_breaks_it_and_figures_stay_in_their_range(line: str) -> None:
    figures = after(Figures(), line)
    assert figures.share is None or 0 <= figures.share <= 1
    for number in (figures.images_per_second, figures.loss, figures.top1):
        assert number is None or 0 <= number < 1e9


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader_and_what_it_gives_can_be_shown(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("log") / "std_log.txt"
    path.write_bytes(content)
    assert Log(path).poll().last_line.isprintable()


def test_only_what_was_added_is_read_and_only_whole_lines(tmp_path: Path) -> None:
    log = Log(path := tmp_path / "std_log.txt")
    assert log.poll() == Figures()
    with path.open("w") as file:
        file.write(f"{EPOCH}\n10/20 ima")
        file.flush()
        assert log.poll().share == 0.4
        file.write("ges\nnot yet")
        file.flush()
        assert (log.poll().share, log.poll().last_line) == (0.5, "10/20 images")
    path.write_text("x" * len(path.read_text()))  # had it been read again, the last line would be another
    assert log.poll().epochs == (EPOCH,)


def test_a_bar_that_another_program_draws_over_and_over_is_followed(tmp_path: Path) -> None:
    (path := tmp_path / "std_log.txt").write_bytes(b"10% 1.5 images/s\r20% 2.5 images/s\r\n\r\n30% 3.5")
    assert Log(path).poll() == Figures(images_per_second=2.5, last_line="20% 2.5 images/s")


def test_of_a_log_that_grows_too_fast_the_end_counts(tmp_path: Path) -> None:
    (path := tmp_path / "std_log.txt").write_text(f"{EPOCH}\n{'x' * 2 * MOST_BYTES} 1.0 images/s\n5/10 images\n")
    assert Log(path).poll() == Figures(share=0.5, last_line="5/10 images")
    path.write_text("y" * 3 * MOST_BYTES)
    log = Log(path)
    assert log.poll() == Figures()
    path.write_text("y" * 3 * MOST_BYTES + "\n6/10 images\n")
    assert log.poll() == Figures(share=0.6, last_line="6/10 images")


def test_a_log_with_epochs_without_end_does_not_fill_the_memory() -> None:
    figures = Figures(epochs=("epoch 1/2",) * MOST_EPOCHS)
    assert len(after(figures, EPOCH).epochs) == MOST_EPOCHS
