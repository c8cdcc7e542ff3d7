"""Measure any detector on the same images."""
