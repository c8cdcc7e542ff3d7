"""Build: make the children of captioned parents, part by part."""
