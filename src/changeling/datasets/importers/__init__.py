"""Importers: one module for each format that a dataset is made from."""
