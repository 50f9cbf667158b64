"""Styled convolutions on a CPU by Winograd's and Toom's fast algorithms, compiled at run time by numba.

Nothing outside `layer` is of use by itself; `faceloom.generators.backends` says when it is used. Needs the extra
`faceloom[fast]`: no module here may be imported where numba is missing.

Sources: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks"; Winograd 1980, "Arithmetic Complexity
of Computations", chapter 5 (the Toom-Cook construction for other sizes).
"""
