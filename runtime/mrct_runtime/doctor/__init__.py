"""What this machine can run, found out without being harmed by what is broken on it."""
