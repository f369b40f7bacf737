"""`attribeam show`: one row of a finished run, looked at."""
