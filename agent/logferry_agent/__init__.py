"""The agent: takes events from the node's jobs and writes them durably as running logs.

Reading order, the way of an event: receiver, producers, journal, writer, runlog, rotation; adoption for the dead;
daemon puts them together.
"""
