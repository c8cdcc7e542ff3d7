"""The detector: features -> head -> verdict. Light: no torch, no scikit-learn until something is trained."""
