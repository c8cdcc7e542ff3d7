"""Evidence in an image file about where the image comes from. It stands beside the score and never changes it."""
