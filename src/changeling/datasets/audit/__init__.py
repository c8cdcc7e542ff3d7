"""Audit: check a dataset and its files."""
