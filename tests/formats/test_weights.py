"""The gate before weights: what torch.save can write, and what a stranger can."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from designer_vision.formats import weights
from designer_vision.formats.weights import read_weights
from designer_vision.runtime import torch_files
from designer_vision.runtime.errors import InvalidModelDirectoryError

NETWORK = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
STATE = NETWORK.state_dict()
EXPECTED = {name: torch.empty_like(tensor, device="meta") for name, tensor in STATE.items()}


class Harm:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch harmed",)


def saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, torch.Tensor]:
    return read_weights(io.BytesIO(content), Path("model"), EXPECTED)


def refused(content: bytes, message: str) -> str:
    with pytest.raises(InvalidModelDirectoryError, match=message) as caught:
        read(content)
    assert not Path("harmed").exists()
    assert "weights_only" not in caught.value.message
    return caught.value.message


def repacked(content: bytes, change: Callable[[str, bytes], tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The same archive with other members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))
    return buffer.getvalue()


def with_pickle(pickled: bytes) -> bytes:
    return repacked(saved(STATE), lambda name, content: (name, pickled if name.endswith("data.pkl") else content))


def test_a_state_dict_is_read() -> None:
    found = read(saved(STATE))
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())
    assert all(found[name].dtype == tensor.dtype for name, tensor in STATE.items())


@pytest.mark.parametrize("protocol", [2, 4])
def test_case_01_a_pickle_that_runs_a_command_is_refused_and_does_not_run(protocol: int) -> None:
    refused(saved({"x": Harm()}, pickle_protocol=protocol), "names posix.system|makes objects")


def test_case_02_a_raw_pickle_is_refused() -> None:
    refused(pickle.dumps(Harm()), "a pickle, as torch before 1.6 and pickle.dump write it")


def test_case_03_the_legacy_format_is_refused() -> None:
    refused(saved(STATE, _use_new_zipfile_serialization=False), "a pickle, as torch before 1.6")


def test_case_04_the_old_tar_format_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    refused(buffer.getvalue(), "not a zip file written by torch.save")


def test_case_05_a_whole_network_is_refused_with_how_to_save_a_state_dict() -> None:
    message = refused(saved(NETWORK), "names torch.nn.modules.container.Sequential")
    assert message.endswith("save one with torch.save(network.state_dict(), path)")


def test_case_06_programs_of_torchscript_and_export_are_refused_unparsed() -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    refused(buffer.getvalue(), "a TorchScript program")
    exported = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), exported)
    refused(exported.getvalue(), "a program that torch.export wrote")


def test_case_08_items_set_on_no_dict_and_storages_of_another_size_are_refused() -> None:
    refused(with_pickle(b"\x80\x02]K\x01K\x02s."), "is damaged|not a state_dict|holds a list")
    short = repacked(saved(STATE), lambda name, content: (name, content[:4] if "/data/" in name else content))
    refused(short, "is damaged")


def test_case_10_an_empty_file_is_refused() -> None:
    refused(b"", "is empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "JSON text"),
        (b"<html>", "HTML"),
        (b"some text", "something else"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ],
)
def test_case_11_text_is_refused_and_recognised(content: bytes, message: str) -> None:
    refused(content, message)


def test_case_12_random_bytes_are_refused() -> None:
    refused(bytes(range(256)) * 10, "not a zip")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_case_13_a_file_that_is_cut_short_is_refused(share: float) -> None:
    content = saved(STATE)
    refused(content[: int(len(content) * share)], "cut short")


def test_case_15_compressed_members_and_sizes_that_lie_are_refused() -> None:
    zeros = repacked(saved(STATE), lambda name, content: (name, content), zipfile.ZIP_DEFLATED)
    refused(zeros, "compressed")
    content = bytearray(saved(STATE))
    directory = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, directory + 20, 10 * 2**28, 10 * 2**28)
    refused(bytes(content), "holds more than its|not a zip")


def test_case_15_a_file_much_longer_than_the_network_is_refused() -> None:
    refused(saved(STATE | {"more": torch.zeros(10_000_000)}), "this network's weights about")


def test_case_17_tensors_without_data_are_refused() -> None:
    refused(saved(STATE | {"conv.bias": torch.empty(4, device="meta")}), "holds more than tensors|expected plain")


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(4, dtype=torch.complex64), torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.int32),
     torch.zeros(4).to_sparse(), torch.quantize_per_tensor(torch.zeros(4), 1.0, 0, torch.qint8)],
    ids=["complex", "bool", "int", "sparse", "quantized"],
)  # fmt: skip
def test_case_18_other_kinds_of_numbers_are_refused(tensor: torch.Tensor) -> None:
    refused(saved(STATE | {"conv.bias": tensor}), "holds more than tensors|expected plain")


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_case_18_other_floats_are_converted_and_it_is_said(kind: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    found = read(saved({name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}))
    assert found["conv.weight"].dtype == torch.float32
    assert f"weights of {kind}" in capsys.readouterr().out


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_case_19_values_that_are_not_finite_are_refused(value: float) -> None:
    refused(saved(STATE | {"conv.bias": torch.full((4,), value)}), r"conv\.bias has values that are not finite")


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), None, {}, {"a": 1}, {1: torch.zeros(1)}], ids=str)
def test_case_20_what_is_no_state_dict_is_refused(content: object) -> None:
    refused(saved(content), "holds a|not a state_dict")


@pytest.mark.parametrize("key", weights.WRAPPERS)
def test_case_21_23_a_state_dict_beside_an_optimizers_state_is_found(key: str) -> None:
    training = {key: STATE, "optimizer": torch.optim.SGD(NETWORK.parameters()).state_dict(), "epoch": 3}
    assert torch.equal(read(saved(training))["conv.weight"], STATE["conv.weight"])


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "model.module."])
def test_case_22_prefixes_of_ddp_and_of_the_classic_module_are_taken_off(prefix: str) -> None:
    assert set(read(saved({prefix + name: tensor for name, tensor in STATE.items()}))) == set(STATE)


def test_case_24_missing_and_unexpected_keys_are_named() -> None:
    message = refused(saved({"other": torch.zeros(1)}), "missing, such as")
    assert "conv.bias" in message
    assert "unexpected, such as ['other']" in message


def test_case_25_tensors_of_another_shape_are_named_with_both_shapes() -> None:
    refused(saved(STATE | {"conv.bias": torch.zeros(5)}), r"conv\.bias \[5\] \(expected \[4\]\)")
    huge = torch.zeros(1).expand(100_000, 100_000)  # 4 bytes that would be 40 GB
    refused(saved(STATE | {"conv.bias": huge}), r"\[100000, 100000\], of which less is stored")


def test_case_28_safetensors_are_refused_as_what_they_are() -> None:
    header = b'{"conv.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    refused(struct.pack("<Q", len(header)) + header + bytes(16), "not a zip file written by torch.save: it is a safetensors file")


def test_a_pickle_that_is_longer_than_any_is_not_read() -> None:
    refused(with_pickle(b"\x80\x02" + b"N0" * (torch_files.MOST_PICKLE // 2) + b"N."), "this network's|a pickle of more than")


HOSTILE_PICKLES = {
    "a nested tuple as a key": b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s.",
    "a tuple of itself and itself": b"\x80\x02})q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(45)) + b"K\x01s.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "an attribute in place of a method": b"\x80\x02ccollections\nOrderedDict\n)R}X\x06\0\0\0valuesK\x01sb.",
    "operations that take more than there is": b"\x80\x02\x87.",
    "a memo that was never made": b"\x80\x02h\x07.",
    "a mark that was never made": b"\x80\x02K\x01t.",
}


@pytest.mark.parametrize("pickled", HOSTILE_PICKLES.values(), ids=HOSTILE_PICKLES)
def test_a_pickle_that_would_exhaust_or_fool_its_reader_is_refused(pickled: bytes) -> None:
    refused(with_pickle(pickled), "tuple|key|not a state_dict|not a zip|cut short")


def test_a_tensor_of_a_billion_elements_in_four_bytes_is_refused() -> None:
    refused(saved({"conv.bias": torch.zeros(1).as_strided([4] * 20, [0] * 20)}), "of which less is stored")
    refused(saved({torch.zeros(1): 1}), "a key that is neither")


def test_a_zip_of_something_else_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("photo.png", b"")
    refused(buffer.getvalue(), "not one that torch.save wrote")


def test_deep_and_endless_pickles_are_refused() -> None:
    refused(
        with_pickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."), "nested too deeply|damaged|not a state_dict|holds a"
    )
    refused(with_pickle(b"\x80\x02"), "not a zip file written by torch.save|damaged")
