"""The contracts with upstream and downstream agents: input, report and errors."""
