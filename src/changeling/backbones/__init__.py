"""Backbones: frozen encoders, named as in open_clip and timm, image -> feature."""
