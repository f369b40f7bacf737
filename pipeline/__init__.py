"""The application: a configuration becomes a Beam job and runs."""
