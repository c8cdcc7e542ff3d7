"""Results -> one self-contained page: tables as in the paper, figures, contact sheets, what the numbers rest on."""

from changeling.report.page import load_results, write_report

__all__ = ["load_results", "write_report"]
