"""The formats: Parquet and TFRecord in, attributions out. Knows pyarrow and TensorFlow; nothing of gradients or Beam."""
