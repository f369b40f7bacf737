"""How faithful, how stable and how noisy a map is: each metric a pure function, and what joins them for some rows."""
