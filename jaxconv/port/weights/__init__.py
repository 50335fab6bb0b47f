"""Pretrained weights: read, matched by name, loaded and saved."""
