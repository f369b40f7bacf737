"""The mathematics: model, kernel, rules, baselines, targets. Knows TensorFlow and numpy; nothing of files or Beam."""
