"""Layer-by-layer comparison with a torch module."""
