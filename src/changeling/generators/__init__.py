"""Generators: models that make children from captions or from parents."""
