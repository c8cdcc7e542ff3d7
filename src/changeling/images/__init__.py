"""Images: from untrusted files to pixels, and from pixels to what a backbone wants."""
