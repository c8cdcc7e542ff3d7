"""Studies: study files, plans and the runner of experiments."""
