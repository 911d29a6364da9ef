"""The verbs of the command line. They parse and print; nothing heavy is imported before a verb needs it."""
