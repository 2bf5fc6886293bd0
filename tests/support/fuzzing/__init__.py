"""Valid files, mutants of them, and processes of limited time and memory in which mrct reads these."""
