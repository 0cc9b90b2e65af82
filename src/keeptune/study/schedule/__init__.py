"""Which jobs are done, where and when: in one process or several, within a budget or without."""
