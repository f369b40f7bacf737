"""What a run consists of: its job and shards, the files that it keeps of them, and whether they still hold."""
