"""Shards explained in a process of its own, which may crash, hang or run out of memory; the row to blame is found."""
