"""A second computation of a whole study, which imports nothing of what it checks."""
