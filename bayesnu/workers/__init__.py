"""Runs a study in chunks: in this process, in other processes or on a Dask cluster, with the same numbers from each.

A study is a list of tasks. `run_tasks` runs those that its folder does not hold yet, writes each as it finishes and
returns all in the order of the list, so that nothing depends on who ran what, and when. Every task runs on one thread:
linear algebra on two threads sums in another order. Scripts that open workers need ``if __name__ == "__main__"``.
"""

from bayesnu.workers.chunks import Chunks
from bayesnu.workers.study import open_workers, run_tasks
from bayesnu.workers.tasks import Arrays, InProcess, Task, Workers, task_seed
from bayesnu.workers.watched import Watched

__all__ = ["Arrays", "Chunks", "InProcess", "Task", "Watched", "Workers", "open_workers", "run_tasks", "task_seed"]
