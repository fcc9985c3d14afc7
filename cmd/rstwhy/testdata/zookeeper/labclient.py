"""A real kazoo client, driven by lines on standard input, that answers each
with a line on standard output; the same commands as LabClient.java."""
import sys
import time

from kazoo.client import KazooClient

clients = []


def run(f):
    if f[0] == "open":
        clients.append(KazooClient(hosts=f[1], timeout=int(f[2]) / 1000))
        clients[-1].start_async()
    elif f[0] == "renew":
        session = (int(f[3], 16), bytes.fromhex(f[4]))
        clients.append(KazooClient(hosts=f[1], timeout=int(f[2]) / 1000, client_id=session))
        clients[-1].start_async()
        for _ in range(int(f[5])):
            clients[-1].get_async("/zookeeper")
    elif f[0] == "create":
        return clients[-1].create(f[1], b"\0" * int(f[2]))
    elif f[0] == "set":
        return clients[-1].set(f[1], b"\0" * int(f[2])).version
    elif f[0] == "get":
        return len(clients[-1].get(f[1])[0])
    elif f[0] == "gets":
        for _ in range(int(f[1])):
            clients[-1].get_async(f[2])
    elif f[0] == "wait":
        time.sleep(int(f[1]) / 1000)
    elif f[0] == "close":
        client = clients.pop()
        client.stop()
        client.close()
    else:
        return "unknown"
    return "ok"


print("ready")
for line in sys.stdin:
    line = line.strip()
    try:
        print("done", line, run(line.split(" ")))
    except Exception as e:
        print("done", line, "failed", repr(e))
