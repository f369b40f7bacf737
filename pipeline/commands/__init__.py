"""The commands, by what they are for; flags exist here only. What a command needs is imported when it is called."""
