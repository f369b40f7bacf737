"""What benchmarks/agreement.py compares, a file for each method."""
