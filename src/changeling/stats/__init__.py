"""Statistics: pure numpy and scipy; each function cites its section or equation of the paper."""
