"""Speed, memory and accuracy, measured by hand, as ratios within one run."""
