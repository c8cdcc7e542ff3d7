"""Tables: their layout, the text of their cells, and LaTeX."""
