"""What the package's source may not contain: ways in for whoever writes a folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import designer_vision

FILES = sorted(Path(designer_vision.__file__).parent.rglob("*.py"))
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open", "yaml.load", "yaml.load_all", "yaml.full_load",
    "yaml.unsafe_load", "eval", "exec", "compile", "__import__", "importlib.import_module", "os.system", "os.popen", "torch.jit.load",
    "torch.hub.load", "torch.export.load", "joblib.load", "numpy.load", "np.load", "extractall", "extract", "input", "tempfile.mktemp",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    return ast.unparse(node)


def offences(source: str) -> list[str]:
    """The forbidden calls of a module, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        keywords = {keyword.arg: name_of(keyword.value) for keyword in node.keywords}
        if name in FORBIDDEN or name.rpartition(".")[2] in ("extractall", "extract"):
            found.append(f"line {node.lineno}: {name}")
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        if keywords.get("shell", "False") != "False":
            found.append(f"line {node.lineno}: {name} with a shell")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_module_has_a_way_in(path: Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["pickle.load(f)", "yaml.load(f, L)", "eval('1')", "exec(x)", "z.extractall(p)", "subprocess.run(c, shell=True)",
     "torch.load(f)", "torch.load(f, weights_only=False)", "importlib.import_module(n)"],
)  # fmt: skip
def test_each_way_in_would_be_found(source: str) -> None:
    assert len(offences(source)) == 1


def test_tensors_are_loaded_in_one_place_only() -> None:
    assert [path.name for path in FILES if "torch.load(" in path.read_text()] == ["torch_files.py"]
