"""Detectors that are models, whatever library runs them, a module each."""
