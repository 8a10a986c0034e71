"""A small DHT at one address whose nodes are libtorrent's, so that our discovery meets nodes that are not our own.

    target/venv/bin/python tests/dht/nodes.py [COUNT [ADDRESS]]

Prints one line of JSON when every node knows another one, {"nodes": ["127.0.0.1:40001", ...]}, and ends when its
standard input closes. A failure is one line on standard error and exit code 1. Run by tests/network/libtorrent.rs and
by the laboratories.
"""

import json
import sys
import time

import libtorrent as lt

COUNT_DEFAULT = 8
ADDRESS_DEFAULT = "127.0.0.1"
READY_DEADLINE_SECONDS = 20
POLL_SECONDS = 0.05

SETTINGS = {
    "enable_dht": True,
    # Nothing but our address: no default bootstrap node, no router, no neighbours by multicast.
    "dht_bootstrap_nodes": "",
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    # All nodes share one address, which a DHT in the wild takes for an attack.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_ignore_dark_internet": False,
    "allow_multiple_connections_per_ip": True,
    # A test asks many times in one second.
    "dht_block_ratelimit": 1000,
    "dht_upload_rate_limit": 1_000_000,
    "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.status_notification
    | lt.alert.category_t.error_notification,
}


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT_DEFAULT
    address = sys.argv[2] if len(sys.argv) > 2 else ADDRESS_DEFAULT
    sessions = []
    for _ in range(count):
        session = lt.session(SETTINGS | {"listen_interfaces": f"{address}:0"})
        deadline = time.monotonic() + READY_DEADLINE_SECONDS
        port = wait_for(lambda: session.listen_port(), deadline, "a libtorrent node opened no port")
        if sessions:
            session.add_dht_node((address, sessions[0][1]))
            # The first node learns of the others by being asked; tell it, and it need not wait.
            sessions[0][0].add_dht_node((address, port))
        sessions.append((session, port))

    deadline = time.monotonic() + READY_DEADLINE_SECONDS
    for number, (session, _) in enumerate(sessions):
        wait_for(lambda: nodes_known(session) > 0, deadline, f"libtorrent node {number} learned of no other node")
    print(json.dumps({"nodes": [f"{address}:{port}" for _, port in sessions]}), flush=True)
    sys.stdin.read()
    return 0


def nodes_known(session) -> int:
    """How many nodes are in the session's routing table."""
    session.post_dht_stats()
    session.wait_for_alert(int(POLL_SECONDS * 1000))
    known = 0
    for alert in session.pop_alerts():
        if isinstance(alert, lt.dht_stats_alert):
            known += sum(bucket["num_nodes"] for bucket in alert.routing_table)
    return known


def wait_for(condition, deadline: float, complaint: str):
    """The condition's first true value; exits with the complaint when the deadline passes."""
    while not (value := condition()):
        if time.monotonic() > deadline:
            sys.exit(complaint)
        time.sleep(POLL_SECONDS)
    return value


if __name__ == "__main__":
    sys.exit(main())
