"""A program: llama.cpp's own server on a free port of this machine, for the suites that hold it to our adapters.

`python server.py FILE WINDOW SLOTS KEY` prints its port once it serves, and ends when its standard input does.
"""

import sys

import xllamacpp


def main(file: str, window: str, slots: str, key: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = file, {"smollm2"}
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = int(window) * int(slots), int(slots)
    params.api_keys = [key]
    params.fit_params = params.warmup = params.ui = False
    params.cache_ram_mib, params.verbosity = 0, 1
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(params)
    print(server.listening_address.rpartition(":")[2], flush=True)
    sys.stdin.read()


main(*sys.argv[1:])
