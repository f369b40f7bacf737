"""A Flink cluster of this machine's own, for `launch_scripts/flink.sh` and the tests."""
