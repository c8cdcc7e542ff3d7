"""The kinds of detectors that can be evaluated, a module each."""
