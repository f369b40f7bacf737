"""The formats: Parquet and TFRecord in, attributions out. Knows pyarrow and TensorFlow, no gradients, no Beam."""
