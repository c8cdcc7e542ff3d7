"""Scripts that make what the package carries, and its generated pages."""
