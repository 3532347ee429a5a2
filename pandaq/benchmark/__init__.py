"""What Panda-Q does on a machine: its rates and its latency, measured on a broker of its own.

`python -m pandaq bench` is the whole of it (`pandaq.benchmark.command`). The other modules are the
pieces of any such measurement: `bench/`, beside this package in the source tree, measures the
published figures with them.

    spread       the median of several runs, and percentiles
    disk_rate    what the disk itself can do
    processes    a broker as a process that is started and ended
    load         batches in, batches out
    posting      single messages over many connections
    latency      from one process to another
    progress     how far a long measurement is
"""
