"""The command line, a file per verb: parse, call, print. Nothing heavy is imported before the options are right."""
