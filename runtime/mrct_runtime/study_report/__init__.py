"""The report of a study: one HTML page that says first whether the synthetic CT is to be trusted, and why."""

from __future__ import annotations

from mrct_runtime.study_report.document import Findings, write_report

__all__ = ["Findings", "write_report"]
