"""Two runs over the same rows side by side: numpy and pyarrow alone; Beam comes in with `transforms/compare.py`."""
