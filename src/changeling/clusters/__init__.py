"""Clusters: parents, captions and children, as a dataset folder."""
