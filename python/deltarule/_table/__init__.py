"""Tables in, predictions out: a model that carries its preprocessing.

``frames`` reads files and takes data frames apart, ``columns`` and ``encoder`` turn columns into a
matrix, ``target`` does the same for what is to be predicted, ``training`` splits, trains and
scores, ``model`` is what comes out, and ``section`` is its place in a model file.
"""
