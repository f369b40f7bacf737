"""Where paths start: values of the configuration, of a row, of a dataset."""
