"""The kinds of edits, as the page sends them: what a person does on the canvas."""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """Where a port's value comes from: a step's output, or an input of the pipeline."""

    step: str = ""
    port: str = ""
    input: str = ""

    def reference(self) -> str:
        """As the YAML writes it."""
        return f"${{{{parent.inputs.{self.input}}}}}" if self.input else f"${{{{parent.jobs.{self.step}.outputs.{self.port}}}}}"


class Edit(msgspec.Struct, tag_field="do", forbid_unknown_fields=True):
    """One thing that a person did."""


class Add(Edit, tag="add"):
    component: str
    name: str = ""


class Remove(Edit, tag="remove"):
    steps: list[str]


class Duplicate(Edit, tag="duplicate"):
    steps: list[str]


class Rename(Edit, tag="rename"):
    step: str
    to: str


class Set(Edit, tag="set"):
    step: str
    port: str
    text: str | None = None


class Connect(Edit, tag="connect", rename={"source": "from"}):
    step: str
    port: str
    source: Source


class Disconnect(Edit, tag="disconnect"):
    step: str
    port: str


class Setting(Edit, tag="setting"):
    step: str
    path: str
    text: str | None = None


class AddInput(Edit, tag="add_input"):
    name: str
    type: str
    text: str | None = None


class SetInput(Edit, tag="set_input"):
    name: str
    text: str | None = None


class RenameInput(Edit, tag="rename_input"):
    name: str
    to: str


class RemoveInput(Edit, tag="remove_input"):
    name: str


class AddOutput(Edit, tag="add_output", rename={"source": "from"}):
    name: str
    source: Source


class ConnectOutput(Edit, tag="connect_output", rename={"source": "from"}):
    name: str
    source: Source


class RemoveOutput(Edit, tag="remove_output"):
    name: str


class Describe(Edit, tag="describe"):
    text: str


AnyEdit = (
    Add | Remove | Duplicate | Rename | Set | Connect | Disconnect | Setting
    | AddInput | SetInput | RenameInput | RemoveInput | AddOutput | ConnectOutput | RemoveOutput | Describe
)  # fmt: skip
"""Any of them."""
