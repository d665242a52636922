"""What is measured, and with what. Nothing of it is installed with the package.

* `python -m bench`: `__main__`, the cases and targets (`cases`), how a case is driven (`drive`)
  against the frozen `ceiling`, runs that need clusters of their own (`special`, `key_service`,
  `delay_proxy`), hot paths one call at a time (`micro`, `hot_*`), tables (`report`).
* `bench.check` holds a result against `baseline.json`, `bench.between` shows two side by side.
* `bench.compare`: beside other stores.
* `bench.profile`: where microseconds (`stacks`, `layers`, `flame`, `processor`) and copies
  (`copies`) go.
* `bench.journal`: the journal by itself.

All of them share the load generator (`load`, `heads`) and a Hexagone of their own (`cluster`).
"""
