"""From batches to full calls of the compiled kernel, and back."""
