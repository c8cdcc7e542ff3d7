"""The routes of the service, what they take, and what they answer."""
