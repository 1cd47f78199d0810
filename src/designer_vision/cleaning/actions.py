"""What is left out of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from designer_vision.cleaning.findings import Finding

Action = Literal["report_only", "leave_out", "leave_out_with_wrong_labels"]
"""Nothing; what is safe to leave out; that, and the labels that are likely wrong."""


def leaving(findings: Sequence[Finding], action: Action) -> dict[int, str]:
    """The rows that are left out, each with the first kind that it is left out for."""
    left: dict[int, str] = {}
    for finding in findings:
        is_wrong = action == "leave_out_with_wrong_labels" and finding.suggested != ""
        if action != "report_only" and (finding.is_safe or is_wrong):
            left.setdefault(finding.row, finding.kind)
    return left
