"""What the service accepts: how much work, of whom, and how many bytes."""
