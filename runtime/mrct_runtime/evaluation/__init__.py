"""Evaluation: how good synthetic CT is against the CT of the same patient, and what its deviation is worth."""
