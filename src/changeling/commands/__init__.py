"""The commands: one short function each, which loads what it needs when it is run."""
