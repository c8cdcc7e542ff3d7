"""The demo: verdicts on sample images, and studies of the bundled datasets."""
