"""Which rows of a run are evaluated, what is measured of them, and the files that hold it."""
