"""The collector: finds result files, consolidates them in the results store, and answers questions about them.

Reading order, the way of a result: discover, tail, formats, consolidate, store, query; service puts them together.
"""
