"""The steps of a run: each reads and writes files in a task's folder.

A step writes its manifest last: called again with the same inputs it does nothing, and after a kill it resumes.
"""

from ..lazy import submodules

__getattr__ = submodules(__name__)
