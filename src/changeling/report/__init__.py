"""The report of a study: one self-contained HTML page with tables, figures, contact sheets and methods.

The tables are also written as CSV and LaTeX.
"""

from changeling.report.exports import write_exports
from changeling.report.page import write_report

__all__ = ["write_exports", "write_report"]
