"""Explanations of verdicts: where in the picture a score comes from, and which training images are similar."""
