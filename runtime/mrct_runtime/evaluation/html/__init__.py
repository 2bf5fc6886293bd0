"""The report of an evaluation: one HTML page with its images inside, which needs no network and no script."""

from __future__ import annotations

from mrct_runtime.evaluation.html.document import REPORT, write_html

__all__ = ["REPORT", "write_html"]
