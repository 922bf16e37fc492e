"""A thousand concurrent paced streams through the gateway and through nginx, from the same simulated provider.

50 events, 20 ms apart. The client is bench_stream_reference (C, one epoll set). Medians of three runs each, alternating.
"""
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import libgateway as lib

STREAMS, EVENTS, GAP_MS = 1000, 50, 20


def body(model):
    pace = json.dumps({"input": 400, "output": EVENTS, "events": EVENTS, "gap_ms": GAP_MS, "first_ms": GAP_MS})
    return json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "sim:" + pace}]})


def run(port, key, model, pid, streams):
    """One run; the client's figures and the most memory the process had meanwhile."""
    command = [f"{lib.BUILD}/tests/bench_stream_reference", str(port), str(streams), str(EVENTS), key, body(model)]
    peak, over = [lib.resident_kib(pid)], threading.Event()

    def watch():
        while not over.wait(0.05):
            peak.append(lib.resident_kib(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    finally:
        over.set()
        watcher.join()
    figures = json.loads(answer.stdout)
    figures["rss_kib"] = max(peak)
    return figures


def main():
    rounds = 1 if "--quick" in sys.argv else 3
    with lib.Bench() as bench:
        upstream = lib.free_port()
        bench.start(f"{lib.BUILD}/bin/reeve-sim", "--port", str(upstream), "--journal", bench.path("journal"))
        lib.wait_for("the provider", lambda: lib.is_listening(upstream))
        reference, reference_port = bench.proxy(upstream, buffering=False)
        gateway, port, _ = bench.gateway(f"http://127.0.0.1:{upstream}/v1")
        key = bench.read("client-key")
        idle = lib.resident_kib(gateway.pid)
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(run(reference_port, "sk-any", "model-one", reference.pid, STREAMS))
            time.sleep(0.5)
            ours.append(run(port, key, "summarize", gateway.pid, STREAMS))
            time.sleep(0.5)
            print(f"nginx {theirs[-1]}\ngateway {ours[-1]}", file=sys.stderr)

        def median(runs, name):
            return statistics.median(one[name] for one in runs)

        p99_goal = max(2 * median(theirs, "ttfb_p99_ms"), median(theirs, "ttfb_p99_ms") + 10)
        print(json.dumps({"bench": "stream", "figures": [
            lib.figure("errors", sum(one["errors"] + one["missing"] for one in ours), "streams", 0),
            lib.figure("ttfb_p50_of_nginx", median(ours, "ttfb_p50_ms") / median(theirs, "ttfb_p50_ms"), "ratio", 1.5),
            lib.figure("ttfb_p50", median(ours, "ttfb_p50_ms"), "ms"),
            lib.figure("ttfb_p99", median(ours, "ttfb_p99_ms"), "ms", round(p99_goal, 2)),
            lib.figure("nginx_ttfb_p50", median(theirs, "ttfb_p50_ms"), "ms"),
            lib.figure("nginx_ttfb_p99", median(theirs, "ttfb_p99_ms"), "ms"),
            lib.figure("memory_per_stream", (median(ours, "rss_kib") - idle) / STREAMS, "KiB", 64),
            lib.figure("memory_total", median(ours, "rss_kib"), "KiB")]}))


if __name__ == "__main__":
    main()
