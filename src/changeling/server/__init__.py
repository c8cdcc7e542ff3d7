"""The detector as a service over HTTP, and its page."""
