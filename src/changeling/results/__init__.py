"""Results: what experiments return and reports read."""
