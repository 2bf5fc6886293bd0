"""Many studies by one command: which are whose, what became of each, and what of it is kept beside the results."""
