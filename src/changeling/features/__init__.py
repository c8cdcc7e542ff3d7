"""Features: made once from a dataset's images, kept in parts, read back as arrays."""
