"""Figures as SVG: dot plots of tables, line plots, and maps."""
