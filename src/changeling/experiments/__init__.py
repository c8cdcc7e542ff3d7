"""Experiments: features in, one Result out; each file is a table or figure of the paper, or one of ours."""
