"""Features of a dataset: extracted once, stored in parts, loaded as arrays."""
