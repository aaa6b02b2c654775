"""The contracts with the agents before and behind: what is read, what is reported, and how errors look."""
