"""Protocol files: what they say, and the ready ones."""
