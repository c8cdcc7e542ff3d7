"""Distributed: builds and extractions on a Ray cluster."""
