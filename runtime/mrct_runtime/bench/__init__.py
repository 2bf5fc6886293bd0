"""How fast a network runs: every candidate in a process of its own, in alternating rounds, compared within one run."""
