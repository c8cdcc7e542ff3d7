"""Builds and extractions on a Ray cluster, part by part, with the same bytes as without it.

All machines see the same folders under the same paths. Parts that are lost with a process or a machine are done again.
"""
