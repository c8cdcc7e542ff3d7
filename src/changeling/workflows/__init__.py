"""What whole commands do, as functions: a part of the public Python API (see docs/api.md).

Paths are strings or `pathlib.Path`. `progress` is called with a description, what is done and the total, and `note`
with messages of one line; by default nothing is printed.
"""
