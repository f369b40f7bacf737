"""Several explanations of a row, and how they become one."""
