"""Turns a training checkpoint into a bundle: ONNX, parity check, self-test."""
