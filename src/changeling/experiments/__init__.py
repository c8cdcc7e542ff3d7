"""Experiments: each takes features and returns a Result, which is a table or figure of the paper or one of our own."""
