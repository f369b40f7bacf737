"""The audit of a finished run: what its rows say together, as tables that can be merged; numpy and pyarrow only."""
