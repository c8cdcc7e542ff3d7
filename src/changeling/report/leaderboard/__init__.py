"""The leaderboard of an evaluation as one page: sortable tables, comparisons of pairs, pictures and downloads."""

from changeling.report.leaderboard.page import write_leaderboard

__all__ = ["write_leaderboard"]
