"""From a configuration and the rows that were read to those that are written: formats and mathematics joined."""
