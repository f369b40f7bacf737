"""The Beam steps, and below them the packages that do the work without knowing Beam."""
