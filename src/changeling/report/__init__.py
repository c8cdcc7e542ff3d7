"""Results -> one self-contained page: tables as in the paper, figures, maps, contact sheets, how it was done.

Beside it the tables as CSV and LaTeX.
"""

from changeling.report.exports import write_exports
from changeling.report.page import write_report

__all__ = ["write_exports", "write_report"]
