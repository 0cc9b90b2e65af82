"""Records in, one page or one table out. This room formats; it never computes a statistic."""

from __future__ import annotations

from keeptune.report.console import print_summary
from keeptune.report.html import write_report

__all__ = ["print_summary", "write_report"]
