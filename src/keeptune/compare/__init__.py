"""Judge two models, two adapters or two sets of logs; score one."""
