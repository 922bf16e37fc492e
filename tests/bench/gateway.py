"""Requests per second and CPU per request through the gateway, beside nginx proxy_pass to the same upstream.

The gateway authenticates, routes, opens the provider key, meters, writes its spool and uploads events meanwhile. 64
connections, not streamed, a body of 1.6 KB. Runs alternate; medians count.
"""
import json
import re
import statistics
import subprocess
import sys

import libgateway as lib

ANSWER = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "model-one-2026",
                     "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 120},
                                  "finish_reason": "stop"}],
                     "usage": {"prompt_tokens": 400, "completion_tokens": 120, "total_tokens": 520,
                               "prompt_tokens_details": {"cached_tokens": 256}}})
BODY = json.dumps({"model": "summarize", "messages": [{"role": "user", "content": "text " * 300}], "user": "bench"})


def write_script(bench, key):
    path = bench.path("call.lua")
    with open(path, "w", encoding="ascii") as file:
        file.write('wrk.method = "POST"\nwrk.body = [==[' + BODY + ']==]\n'
                   'wrk.headers["content-type"] = "application/json"\n'
                   f'wrk.headers["authorization"] = "Bearer {key}"\n')
    return path


def run(script, port, seconds, connections):
    text = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script,
                           f"http://127.0.0.1:{port}/v1/chat/completions"], check=True, capture_output=True,
                          text=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: (.*)", text)
    if bad or errors:
        raise RuntimeError(f"errors under load: {(bad or errors).group(0)}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), int(
        re.search(r"(\d+) requests in", text).group(1))


def measure(script, pid, port, seconds, connections):
    before = lib.cpu_seconds(pid)
    rate, count = run(script, port, seconds, connections)
    return rate, (lib.cpu_seconds(pid) - before) / count * 1e6


def main():
    seconds, rounds, connections = 4, 3, 64
    if "--quick" in sys.argv:
        seconds, rounds = 2, 1
    with lib.Bench() as bench:
        upstream = lib.free_port()
        bench.nginx("upstream", f"""server {{ listen 127.0.0.1:{upstream} backlog=4096 reuseport;
            location / {{ default_type application/json; return 200 '{ANSWER}'; }} }}""")
        lib.wait_for("the upstream", lambda: lib.is_listening(upstream))
        reference, reference_port = bench.proxy(upstream, buffering=True)
        gateway, port, admin = bench.gateway(f"http://127.0.0.1:{upstream}/v1")
        script = write_script(bench, bench.read("client-key"))
        for warm in (reference_port, port):
            run(script, warm, 1, connections)
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(measure(script, reference.pid, reference_port, seconds, connections))
            ours.append(measure(script, gateway.pid, port, seconds, connections))
            print(f"nginx {theirs[-1][0]:.0f}/s {theirs[-1][1]:.1f} us   gateway {ours[-1][0]:.0f}/s "
                  f"{ours[-1][1]:.1f} us", file=sys.stderr)
        rate, cpu = (statistics.median(x) for x in zip(*ours))
        rate_nginx, cpu_nginx = (statistics.median(x) for x in zip(*theirs))
        waiting = lib.metric(admin, "reeve_gateway_spool_events")
        stored = lib.metric(admin, 'reeve_gateway_upload_events_total{verdict="stored"}')
        print(json.dumps({"bench": "gateway", "figures": [
            lib.figure("share_of_nginx", rate / rate_nginx, "ratio", 0.33, "higher"),
            lib.figure("requests_per_second", rate, "1/s", None, "higher"),
            lib.figure("cpu_per_request", cpu, "us"),
            lib.figure("nginx_requests_per_second", rate_nginx, "1/s", None, "higher"),
            lib.figure("nginx_cpu_per_request", cpu_nginx, "us"),
            lib.figure("events_uploaded", stored, "events", None, "higher"),
            lib.figure("events_waiting", waiting, "events")]}))


if __name__ == "__main__":
    main()
