"""Captions -> children: what generators draw, kept in parts so that nothing is lost."""
