"""Trains the networks (PyTorch) and draws phantoms (without it)."""
