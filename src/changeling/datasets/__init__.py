"""Datasets: parents, captions and children on disk, with what reads, writes and checks them."""
