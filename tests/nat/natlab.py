#!/usr/bin/env python3
"""Internets with NATs, made of network namespaces. For the NAT laboratory, and by hand.

  natlab.py up LAB TOPOLOGY            build a lab (TOPOLOGY: a file, or - for stdin)
  natlab.py down LAB                   tear it down (never fails if it is not there)
  natlab.py exec LAB NODE -- CMD...    run CMD in a node ("inet" is the internet itself)
  natlab.py show LAB                   the nodes and their addresses
  natlab.py addr LAB NODE [--public | --v6]
                                    print the node's address (--public: as the internet sees it)
  natlab.py cut LAB A[,A2] [B[,B2]]    cut A's uplink, or all traffic between A's and B's site
  natlab.py heal LAB                   undo every cut
  natlab.py reboot LAB NAT [--ip NEW] [--down SECONDS]
                                    forget all mappings, optionally after an outage and
                                    optionally with another outside address ("--ip auto")
  natlab.py uplink LAB HOST down|up    take a host's first uplink away, or give it back (it needs second=)
  natlab.py prefix LAB NAT [--keep]    another IPv6 prefix inside; the old one leads nowhere any more, and with --keep
                                    hosts have its addresses still, deprecated
  natlab.py link LAB NODE [delay=MS] [jitter=MS] [loss=PERCENT]
                                    impair the node's uplink in both directions (none: clear)
  natlab.py mappings LAB NAT           print the NAT's conntrack entries (UDP)
  natlab.py selftest                   build one NAT of each type and verify its behaviour

A topology has one node per line ('#' starts a comment):

  host NAME [via=NAT] [second=NAT] [ip=A.B.C.D] [LINK]
  nat  NAME [via=NAT] [ip=A.B.C.D] [type=T] [OPTION...] [LINK]
  ipv6                              give every node an IPv6 address too (routers: stateful
                                    firewall, no NAT66)

  via=     the NAT in front of it (none: on the internet). A NAT via a NAT is CGNAT.
  second=  another NAT, by an uplink of its own that is taken when the first one is down
  type=    fullcone         endpoint-independent mapping and filtering
           restricted       endpoint-independent mapping, address-dependent filtering
           port-restricted  endpoint-independent mapping, address+port filtering (default;
                            plain masquerade)
           symmetric        a new random port per destination
           none             no NAT at all: public addresses inside, behind a stateful firewall
  ports=   preserve | random   whether the three cones keep the inside port (default preserve)
  udp=     block            drop all UDP through it
  udp_timeout=N,S           seconds a one-way / two-way UDP mapping lives (default 30,120)
  hairpin= on               fullcone only: inside hosts may reach each other through their outside
                            addresses
  input=   accept           unsolicited packets reach the router itself instead of being
                            dropped (a common flaw that breaks hole punching)
  lan=     A.B.C.0          inside /24 (default 192.168.1.0 for every home, 100.64.0.0 for CGNAT,
                            13.N.0.0 for type=none)
  upnp=    on               run miniupnpd (IGD, NAT-PMP, PCP) on it
  LINK     delay=MS jitter=MS loss=PERCENT (each direction)

Needs: root, iproute2, nftables; miniupnpd-nftables for upnp=on. Link impairment uses netem if
the kernel has it, else a user-space shaper over a TAP device.
"""
import contextlib, ctypes, fcntl, heapq, json, os, random, re, select, shutil, signal
import socket, struct, subprocess, sys, time

STATE = "/run/natlab"
# Each node of the internet has a network of its own, since hosts count what shares a /24 or a /48 together. The ranges are
# global ones: neither hosts nor miniupnpd take those of the documentation. Nothing leaves the namespaces.
HOST_POOL, NAT_POOL = "11.%d.0.10", "12.%d.0.10"
V6_OUTSIDE, V6_INSIDE = "2a00:0:%x::1", "2a00:1:%x::"
GATEWAY = "169.254.1.1"  # every internet port's router side; nodes use it as on-link gateway
NAT_TYPES = ("fullcone", "restricted", "port-restricted", "symmetric", "none")


class Error(Exception):
    pass


def sh(*cmd, check=True, text=None):
    r = subprocess.run(cmd, input=text, capture_output=True, text=True)
    if check and r.returncode:
        raise Error(f"{' '.join(cmd)}: {r.stderr.strip() or r.stdout.strip()}")
    return r.stdout


# ---------------------------------------------------------------- topology

def parse(text):
    nodes, ipv6 = {}, False
    for n, line in enumerate(text.splitlines(), 1):
        w = line.split("#")[0].split()
        if not w:
            continue
        if w == ["ipv6"]:
            ipv6 = True
            continue
        if w[0] not in ("host", "nat") or len(w) < 2:
            raise Error(f"line {n}: expected 'host NAME ...' or 'nat NAME ...'")
        kind, name = w[:2]
        if not re.fullmatch(r"[a-z][a-z0-9]{0,9}", name) or name == "inet" or name in nodes:
            raise Error(f"line {n}: bad or repeated name {name!r} (a-z, 0-9, up to 10)")
        opts = {}
        allowed = {"via", "ip", "delay", "jitter", "loss"}
        if kind == "host":
            allowed |= {"second"}
        else:
            allowed |= {"type", "ports", "udp", "udp_timeout", "hairpin", "input", "lan", "upnp"}
        for o in w[2:]:
            k, eq, v = o.partition("=")
            if not eq or k not in allowed:
                raise Error(f"line {n}: unknown option {o!r}")
            opts[k] = v
        if kind == "nat":
            opts.setdefault("type", "port-restricted")
            if opts["type"] not in NAT_TYPES:
                raise Error(f"line {n}: type is one of {', '.join(NAT_TYPES)}")
            if opts.get("hairpin") == "on" and opts["type"] != "fullcone":
                raise Error(f"line {n}: hairpin=on needs type=fullcone")
            if opts["type"] == "none" and "via" in opts:
                raise Error(f"line {n}: type=none must be on the internet itself")
        nodes[name] = {"kind": kind, "name": name, **opts}
    for d in nodes.values():
        if "via" in d and nodes.get(d["via"], {}).get("kind") != "nat":
            raise Error(f"{d['name']}: via={d['via']} is not a nat")
        if "second" in d and (nodes.get(d["second"], {}).get("kind") != "nat" or "via" not in d):
            raise Error(f"{d['name']}: second={d['second']} is not a nat, or there is no first")
        seen, up = set(), d
        while "via" in up:
            if up["name"] in seen:
                raise Error(f"{d['name']}: via= goes round in a circle")
            seen.add(up["name"])
            up = nodes[up["via"]]
        d["depth"] = len(seen)
        d["site"] = up["name"]
    return {"nodes": nodes, "ipv6": ipv6}


def assign(topo):
    """Gives every node its addresses, and every NAT its inside network."""
    nodes, used = topo["nodes"], {d["ip"] for d in topo["nodes"].values() if "ip" in d}
    downstream = {d["via"] for d in nodes.values() if d["kind"] == "nat" and "via" in d}
    counters = {}

    def fresh(pool):
        for i in range(counters.get(pool, 10), 255):
            if pool % i not in used:
                counters[pool] = i + 1
                used.add(pool % i)
                return pool % i
        raise Error(f"no address left in {pool}")

    for n, d in enumerate(x for x in nodes.values() if x["kind"] == "nat"):
        d["n"] = n + 1
        d.setdefault("lan", f"13.{n + 1}.0.0" if d["type"] == "none" else
                     "100.64.0.0" if d["name"] in downstream else "192.168.1.0")
    lan_next = {}
    for d in sorted(nodes.values(), key=lambda d: d["depth"]):
        d["dev"] = "wan" if d["kind"] == "nat" else "eth0"
        if "via" in d:
            up = nodes[d["via"]]
            i = lan_next[up["name"]] = lan_next.get(up["name"], 9) + 1
            d.setdefault("ip", up["lan"].rsplit(".", 1)[0] + f".{i}")
            d["ip6"] = V6_INSIDE % up["n"] + f"{i:x}"
            if "second" in d:
                up = nodes[d["second"]]
                i = lan_next[up["name"]] = lan_next.get(up["name"], 9) + 1
                d["ip_2"] = up["lan"].rsplit(".", 1)[0] + f".{i}"
        else:
            pool = HOST_POOL if d["kind"] == "host" else NAT_POOL
            d.setdefault("ip", fresh(pool))
            i = counters["v6"] = counters.get("v6", 0x0f) + 1
            d["ip6"] = V6_OUTSIDE % i


def public_ip(lab, name):
    d = lab["nodes"][name]
    site = lab["nodes"][d["site"]]
    return d["ip"] if site.get("type") == "none" else site["ip"]


# ---------------------------------------------------------------- building

def nsname(lab, node):
    return f"{lab['name']}-{node}"


def ip(ns, *args, check=True):
    return sh("ip", "-n", ns, *args, check=check)


def nft(ns, script):
    sh("ip", "netns", "exec", ns, "nft", "-f", "-", text=script)


def sysctl(ns, *settings):
    sh("ip", "netns", "exec", ns, "sysctl", "-qw", *settings)


def add_ns(ns, forward):
    sh("ip", "netns", "add", ns)
    ip(ns, "link", "set", "lo", "up")
    # log_invalid etc. stay off; a fresh namespace starts with conntrack defaults
    sysctl(ns, f"net.ipv4.ip_forward={forward:d}", f"net.ipv6.conf.all.forwarding={forward:d}",
           "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
           "net.ipv6.conf.default.accept_ra=0", "net.ipv4.conf.all.rp_filter=0",
           "net.ipv4.conf.default.rp_filter=0", "net.ipv4.ping_group_range=0 2147483647")


def uplink(lab, d):
    """The namespace and device at the far end of the node's uplink."""
    return nsname(lab, d.get("via", "inet")), "p-" + d["name"]


def set_wan_address(lab, d, add=True):
    """Puts the node's address on its uplink (or takes it off)."""
    ns, verb, dev = nsname(lab, d["name"]), "add" if add else "del", d["dev"]
    if "via" in d:
        up = lab["nodes"][d["via"]]
        gw = up["lan"].rsplit(".", 1)[0] + ".1"
        ip(ns, "addr", verb, d["ip"] + "/24", "dev", dev, check=add)
        if add:
            ip(ns, "route", "replace", "default", "via", gw, "dev", dev)
    else:
        inet, port = uplink(lab, d)
        ip(ns, "addr", verb, d["ip"] + "/32", "dev", dev, check=add)
        ip(inet, "route", verb, d["ip"] + "/32", "dev", port, check=add)
        if add:
            ip(ns, "route", "replace", "default", "via", GATEWAY, "dev", dev, "onlink", "src", d["ip"])
            if d.get("type") == "none":
                ip(inet, "route", "replace", d["lan"] + "/24", "via", d["ip"], "dev", port, "onlink")


def build_node(lab, d):
    ns, dev = nsname(lab, d["name"]), d["dev"]
    up_ns, port = uplink(lab, d)
    add_ns(ns, d["kind"] == "nat")
    ip(up_ns, "link", "add", "name", port, "type", "veth", "peer", "name", dev, "netns", ns)
    if "via" in d:
        ip(up_ns, "link", "set", "dev", port, "master", "lan0", "up")
    else:
        ip(up_ns, "link", "set", "dev", port, "up")
        ip(up_ns, "addr", "add", GATEWAY + "/32", "dev", port)
    ip(ns, "link", "set", dev, "up")
    set_wan_address(lab, d)
    if lab["ipv6"]:
        if "via" in d:
            ip(ns, "addr", "add", d["ip6"] + "/64", "dev", dev, "nodad")
            ip(ns, "-6", "route", "add", "default", "via", V6_INSIDE % lab["nodes"][d["via"]]["n"] + "1", "dev", dev)
        else:
            ip(up_ns, "addr", "add", "fe80::1/64", "dev", port, "nodad")
            ip(ns, "addr", "add", d["ip6"] + "/128", "dev", dev, "nodad")
            ip(ns, "-6", "route", "add", "default", "via", "fe80::1", "dev", dev)
            ip(up_ns, "-6", "route", "add", d["ip6"] + "/128", "dev", port)
    if "second" in d:
        up = lab["nodes"][d["second"]]
        ip(nsname(lab, d["second"]), "link", "add", "name", "q-" + d["name"], "type", "veth", "peer", "name", "eth1", "netns", ns)
        ip(nsname(lab, d["second"]), "link", "set", "dev", "q-" + d["name"], "master", "lan0", "up")
        ip(ns, "link", "set", "eth1", "up")
        ip(ns, "addr", "add", d["ip_2"] + "/24", "dev", "eth1")
        ip(ns, "route", "add", "default", "via", up["lan"].rsplit(".", 1)[0] + ".1", "dev", "eth1", "metric", "200")
    if d["kind"] == "nat":
        build_nat(lab, d)


def build_nat(lab, d):
    ns = nsname(lab, d["name"])
    ip(ns, "link", "add", "lan0", "type", "bridge", "forward_delay", "0")
    ip(ns, "addr", "add", d["lan"].rsplit(".", 1)[0] + ".1/24", "dev", "lan0")
    ip(ns, "link", "set", "lan0", "up")
    # a kernel with br_netfilter would take what is bridged through the NAT rules as well
    for p in ("iptables", "ip6tables"):
        with contextlib.suppress(Error):
            sysctl(ns, f"net.bridge.bridge-nf-call-{p}=0")
    if lab["ipv6"]:
        ip(ns, "addr", "add", V6_INSIDE % d["n"] + "1/64", "dev", "lan0", "nodad")
        route_prefix(lab, d, "add", V6_INSIDE % d["n"])
    one, two = d.get("udp_timeout", "30,120").split(",")
    sysctl(ns, f"net.netfilter.nf_conntrack_udp_timeout={one}",
           f"net.netfilter.nf_conntrack_udp_timeout_stream={two}")
    nft(ns, nat_rules(d, int(two)))
    if d.get("upnp") == "on":
        start_upnp(lab, d)


def route_prefix(lab, d, verb, prefix):
    """Routes a prefix to this router along the chain of routers in front of it (or takes the routes away)."""
    hop = d
    while True:
        up_ns, port = uplink(lab, hop)
        ip(up_ns, "-6", "route", verb, prefix + "/64", "via", hop["ip6"],
           *(("dev", "lan0") if "via" in hop else ("dev", port, "onlink")))
        if "via" not in hop:
            break
        hop = lab["nodes"][hop["via"]]


def nat_rules(d, timeout):
    """The router's nft rules.

    Linux masquerade keeps the inside port when it can and re-uses a source's mapping for all its
    destinations: a port-restricted cone. 'fully-random' skips both: symmetric. The other cones
    learn their mappings after source NAT into timed maps, and use them for unsolicited packets.
    """
    cone = d["type"] in ("fullcone", "restricted") or (
        d["type"] == "port-restricted" and d.get("ports") == "random")
    random_ports = d["type"] == "symmetric" or d.get("ports") == "random"
    hair = d.get("hairpin") == "on"
    rules = ["table inet natlab {",
             " chain forward {", "  type filter hook forward priority filter; policy drop;"]
    if d.get("udp") == "block":
        rules += ['  iifname "lan0" oifname "wan" meta l4proto udp drop']
    rules += ['  iifname "lan0" accept', "  ct state established,related accept", "  ct status dnat accept",
              "  meta l4proto ipv6-icmp accept", " }",
              " chain input {", f"  type filter hook input priority filter; policy {'accept' if d.get('input') == 'accept' else 'drop'};",
              '  iifname { "lo", "lan0" } accept', "  ct state established,related accept",
              "  meta l4proto { icmp, ipv6-icmp } accept", " }", "}"]
    if d["type"] == "none":
        return "\n".join(rules) + "\n"
    rules += ["table ip natlab {"]
    remote = " . ipv4_addr" if d["type"] == "restricted" else ""
    if cone:
        rules += [f" map inward {{\n  type inet_service{remote} : ipv4_addr . inet_service",
                  f"  size 65535; flags dynamic,timeout; timeout {timeout}s;\n }}",
                  " map outward {\n  type ipv4_addr . inet_service : ipv4_addr . inet_service",
                  f"  size 65535; flags dynamic,timeout; timeout {timeout}s;\n }}"]
    rules += [" chain prerouting {", "  type nat hook prerouting priority dstnat;"]
    if d["type"] in ("fullcone", "restricted"):
        key = "udp dport . ip saddr" if remote else "udp dport"
        to_me = 'fib daddr type local iifname { "wan", "lan0" }' if hair else 'iifname "wan"'
        rules += [f"  {to_me} meta l4proto udp dnat ip to {key} map @inward"]
    rules += [" }", " chain postrouting {", "  type nat hook postrouting priority srcnat;"]
    if hair:
        rules += ['  iifname "lan0" oifname "lan0" meta l4proto udp snat ip to ip saddr . udp sport map @outward']
    if cone:
        rules += ['  oifname "wan" meta l4proto udp snat ip to ip saddr . udp sport map @outward']
    rules += [f'  oifname "wan" masquerade{" fully-random" if random_ports else ""}', " }"]
    if cone:
        key_out = "udp sport . ip daddr" if remote else "udp sport"
        rules += [" chain learn {", "  type filter hook postrouting priority 110;",
                  f'  oifname "wan" meta l4proto udp ct direction original update @inward {{ {key_out} : ct original ip saddr . ct original proto-src }}',
                  f'  oifname "wan" meta l4proto udp ct direction reply update @inward {{ {key_out} : ct reply ip saddr . ct reply proto-src }}',
                  '  oifname "wan" meta l4proto udp ct direction original update @outward { ct original ip saddr . ct original proto-src : ip saddr . udp sport }',
                  '  oifname "wan" meta l4proto udp ct direction reply update @outward { ct reply ip saddr . ct reply proto-src : ip saddr . udp sport }',
                  " }"]
    return "\n".join(rules + ["}"]) + "\n"


def start_upnp(lab, d):
    ns, exe = nsname(lab, d["name"]), shutil.which("miniupnpd", path="/usr/sbin:/usr/bin")
    if not exe:
        raise Error("upnp=on needs the package miniupnpd-nftables")
    base = f"{STATE}/{ns}-miniupnpd"
    # miniupnpd fills these three chains; creating and hooking them is ours to do
    nft(ns, """table inet miniupnpd {
 chain forwarded {
 }
 chain before {
 }
 chain after {
 }
 chain forward {
  type filter hook forward priority -1;
  jump forwarded
 }
 chain prerouting {
  type nat hook prerouting priority -110;
  jump before
 }
 chain postrouting {
  type nat hook postrouting priority 90;
  jump after
 }
}
""")
    with open(base + ".conf", "w") as f:
        f.write(f"""ext_ifname=wan
listening_ip=lan0
http_port=5000
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=yes
notify_interval=30
min_lifetime=1
max_lifetime=86400
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=forwarded
upnp_nat_chain=before
upnp_nat_postrouting_chain=after
lease_file={base}.leases
uuid=6e61746c-6162-4000-8000-{d['n']:012x}
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
""")
    log = open(base + ".log", "w")
    subprocess.Popen(["ip", "netns", "exec", ns, exe, "-d", "-f", base + ".conf", "-P", base + ".pid"],
                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def build(name, text):
    if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", name):
        raise Error("a lab's name has a-z, 0-9, up to 16")
    if os.geteuid():
        raise Error("needs root")
    lab = {"name": name, **parse(text)}
    assign(lab)
    down(name)
    os.makedirs(STATE, exist_ok=True)
    try:
        save(lab)
        add_ns(nsname(lab, "inet"), True)
        for d in sorted(lab["nodes"].values(), key=lambda d: d["depth"]):
            build_node(lab, d)
        for d in lab["nodes"].values():
            if {"delay", "jitter", "loss"} & d.keys():
                shape(lab, d["name"], d)
    except BaseException:
        down(name)
        raise
    return lab


def save(lab):
    tmp = f"{STATE}/{lab['name']}.tmp"
    with open(tmp, "w") as f:
        json.dump(lab, f)
    os.replace(tmp, f"{STATE}/{lab['name']}.json")


def load(name):
    try:
        with open(f"{STATE}/{name}.json") as f:
            return json.load(f)
    except OSError:
        raise Error(f"no lab named {name!r}")


def namespaces(name):
    return [n for n in (line.split()[0] for line in sh("ip", "netns", "list").splitlines() if line)
            if n.startswith(name + "-")]


def down(name):
    """Ends what runs in the lab's namespaces and removes them. Safe to repeat."""
    spaces = namespaces(name)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        pids = [int(p) for ns in spaces for p in sh("ip", "netns", "pids", ns, check=False).split()]
        pids = [p for p in pids if p != os.getpid()]
        for p in pids:
            with contextlib.suppress(OSError):
                os.kill(p, sig)
        for _ in range(20 if pids else 0):
            if not any(os.path.exists(f"/proc/{p}") for p in pids):
                break
            time.sleep(0.05)
    for ns in spaces:
        sh("ip", "netns", "del", ns, check=False)
    if os.path.isdir(STATE):
        for f in os.listdir(STATE):
            if f in (name + ".json", name + ".tmp") or f.startswith(name + "-"):
                os.unlink(f"{STATE}/{f}")


# ---------------------------------------------------------------- changing a running lab

def node(lab, name):
    if name not in lab["nodes"]:
        raise Error(f"no node named {name!r}")
    return lab["nodes"][name]


def cut(lab, a, b):
    """Drops silently: on arrival only, so that no sender sees an error."""
    if b is None:
        for name in a.split(","):
            d = node(lab, name)
            for ns, dev in (uplink(lab, d), (nsname(lab, name), d["dev"])):
                nft(ns, f'table netdev natlabcut {{\n chain {dev.replace("-", "_")} {{\n'
                        f'  type filter hook ingress device "{dev}" priority 0; policy drop;\n }}\n}}\n')
        return
    rules = []
    for x in a.split(","):
        for y in b.split(","):
            x_site, y_site = node(lab, x)["site"], node(lab, y)["site"]
            if x_site == y_site:
                raise Error(f"{x} and {y} are at the same site: cut one's uplink instead")
            rules += [f'  iifname "p-{i}" oifname "p-{o}" drop' for i, o in ((x_site, y_site), (y_site, x_site))]
    nft(nsname(lab, "inet"), "table inet natlabcut {\n chain forward {\n  type filter hook forward priority 0;\n"
        + "\n".join(rules) + "\n }\n}\n")


def heal(lab):
    for ns in namespaces(lab["name"]):
        for family in ("netdev", "inet"):
            sh("ip", "netns", "exec", ns, "nft", "delete", "table", family, "natlabcut", check=False)


def reboot(lab, name, new_ip, outage):
    d = node(lab, name)
    if d["kind"] != "nat":
        raise Error(f"{name} is not a nat")
    ns = nsname(lab, name)
    ip(ns, "link", "set", "lan0", "down")
    if new_ip:
        set_wan_address(lab, d, add=False)
        if new_ip == "auto":
            taken = {x["ip"] for x in lab["nodes"].values()}
            new_ip = next(NAT_POOL % i for i in range(200, 255) if NAT_POOL % i not in taken)
        d["ip"] = new_ip
    for m in ("inward", "outward"):
        sh("ip", "netns", "exec", ns, "nft", "flush", "map", "ip", "natlab", m, check=False)
    time.sleep(outage)
    if new_ip:
        set_wan_address(lab, d)
    flush_conntrack(ns)
    ip(ns, "link", "set", "lan0", "up")
    if lab["ipv6"]:  # the address went away with the link
        ip(ns, "addr", "replace", V6_INSIDE % d["n"] + "1/64", "dev", "lan0", "nodad")
    if d.get("upnp") == "on":  # loses its leases, as most home routers do
        base = f"{STATE}/{ns}-miniupnpd"
        with contextlib.suppress(OSError, ValueError), open(base + ".pid") as f:
            os.kill(int(f.read()), signal.SIGKILL)
        sh("ip", "netns", "exec", ns, "nft", "delete", "table", "inet", "miniupnpd", check=False)
        for f in (".pid", ".leases"):
            with contextlib.suppress(OSError):
                os.unlink(base + f)
        start_upnp(lab, d)
    save(lab)
    print(d["ip"])


def switch_uplink(lab, name, up):
    d = node(lab, name)
    if "second" not in d:
        raise Error(f"{name} has no second uplink")
    ns = nsname(lab, name)
    if up:
        gw = lab["nodes"][d["via"]]["lan"].rsplit(".", 1)[0] + ".1"
        ip(ns, "link", "set", "eth0", "up")
        ip(ns, "addr", "add", d["ip"] + "/24", "dev", "eth0")
        ip(ns, "route", "replace", "default", "via", gw, "dev", "eth0")
    else:  # as a network manager does it when there is no carrier; the route goes with the link
        ip(ns, "addr", "del", d["ip"] + "/24", "dev", "eth0")
        ip(ns, "link", "set", "eth0", "down")


def change_prefix(lab, name, keep):
    d = node(lab, name)
    if d["kind"] != "nat" or not lab["ipv6"]:
        raise Error(f"{name} is not a nat, or there is no IPv6")
    old = V6_INSIDE % d["n"]
    d["n"] += 100
    new, ns = V6_INSIDE % d["n"], nsname(lab, name)
    route_prefix(lab, d, "del", old)
    route_prefix(lab, d, "add", new)
    ip(ns, "addr", "del", old + "1/64", "dev", "lan0")
    ip(ns, "addr", "add", new + "1/64", "dev", "lan0", "nodad")
    for h in lab["nodes"].values():
        if h.get("via") != name or h["kind"] != "host":
            continue
        inside, before = nsname(lab, h["name"]), h["ip6"]
        h["ip6"] = new + before.rsplit(":", 1)[1]
        if keep:
            ip(inside, "addr", "change", before + "/64", "dev", "eth0", "valid_lft", "3600", "preferred_lft", "0")
        else:
            ip(inside, "addr", "del", before + "/64", "dev", "eth0")
        ip(inside, "addr", "add", h["ip6"] + "/64", "dev", "eth0", "nodad")
        ip(inside, "-6", "route", "replace", "default", "via", new + "1", "dev", "eth0")
    save(lab)


def flush_conntrack(ns):
    """What 'conntrack -F' does, without needing the package."""
    child = os.fork()
    if child == 0:
        try:
            enter(ns)
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
            # nlmsghdr(type = CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, REQUEST | ACK) + nfgenmsg
            s.send(struct.pack("=IHHII", 20, 1 << 8 | 2, 5, 1, 0) + b"\0\0\0\0")
            os._exit(0 if struct.unpack_from("=i", s.recv(4096), 16)[0] == 0 else 1)
        except BaseException:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise Error(f"cannot flush conntrack in {ns}")


def enter(ns):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{ns}") as f:
        if libc.setns(f.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")


# ---------------------------------------------------------------- link impairment

def have_netem():
    ns = f"natlabprobe{os.getpid()}"
    sh("ip", "netns", "add", ns)
    try:
        return subprocess.run(["tc", "-n", ns, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"],
                              capture_output=True).returncode == 0
    finally:
        sh("ip", "netns", "del", ns)


def shape(lab, name, opts):
    d = node(lab, name)
    delay, jitter, loss = (float(opts.get(k, 0)) for k in ("delay", "jitter", "loss"))
    netem = have_netem()
    for ns, dev in (uplink(lab, d), (nsname(lab, name), d["dev"])):
        sh("tc", "-n", ns, "qdisc", "del", "dev", dev, "root", check=False)
        sh("tc", "-n", ns, "qdisc", "del", "dev", dev, "clsact", check=False)
        pidfile = f"{STATE}/{ns}-shape-{dev}"
        if os.path.exists(pidfile):
            with open(pidfile) as f, contextlib.suppress(OSError, ValueError):
                os.kill(int(f.read()), signal.SIGTERM)
            os.unlink(pidfile)
        if not (delay or jitter or loss):
            continue
        if netem:
            sh("tc", "-n", ns, "qdisc", "add", "dev", dev, "root", "netem", "limit", "10000", "delay",
               f"{delay}ms", f"{jitter}ms", "loss", f"{loss}%")
            continue
        p = subprocess.Popen([sys.executable, os.path.realpath(__file__), "_shaper", ns, dev, str(delay), str(jitter),
                              str(loss)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             start_new_session=True)
        if p.stdout.read(2) != b"ok":
            raise Error(f"the shaper for {dev} in {ns} did not start")
        with open(pidfile, "w") as f:
            f.write(str(p.pid))


def shaper(ns, dev, delay, jitter, loss):
    """Takes what leaves by dev (redirected into a TAP device), and sends it on later."""
    enter(ns)
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = "shp" + str(os.getpid())
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))  # IFF_TAP | IFF_NO_PI
    with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as f:
        f.write("1")
    sh("ip", "link", "set", name, "up", "txqueuelen", "10000")
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS: also passes by our own redirect
    out.bind((dev, 0))
    sh("tc", "qdisc", "add", "dev", dev, "clsact")
    sh("tc", "filter", "add", "dev", dev, "egress", "protocol", "all", "u32", "match", "u32", "0", "0",
       "action", "mirred", "egress", "redirect", "dev", name)
    os.write(1, b"ok")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    queue, serial = [], 0
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        if select.select([tap], [], [], wait)[0]:
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    frame = os.read(tap, 65536)
                    if random.random() * 100 >= loss:
                        due = time.monotonic() + max(0.0, random.gauss(delay, jitter / 2) if jitter else delay) / 1000
                        serial += 1
                        heapq.heappush(queue, (due, serial, frame))
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            with contextlib.suppress(OSError):
                out.send(heapq.heappop(queue)[2])


# ---------------------------------------------------------------- self test

def probe_server(port):
    """Echoes the observed address; sends from elsewhere when asked to ('from PORT', 'tell IP PORT')."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for i, s in enumerate(socks):
        s.bind(("0.0.0.0", port + i))
    os.write(1, b"ok")
    while True:
        for s in select.select(socks, [], [])[0]:
            msg, addr = s.recvfrom(2048)
            w = msg.decode().split()
            if w[0] == "see":
                s.sendto(f"{addr[0]} {addr[1]}".encode(), addr)
            elif w[0] == "otherport":
                socks[1 if s is socks[0] else 0].sendto(b"otherport", addr)
            elif w[0] == "otherhost":
                s.sendto(f"poke {addr[0]} {addr[1]}".encode(), (w[1], port))
            elif w[0] == "poke":
                s.sendto(b"otherhost", (w[1], int(w[2])))


def probe(one, two, port=3478):
    """Prints this host's NAT behaviour as seen against two probe servers (RFC 4787 terms)."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", 40000))
    s.settimeout(0.7)

    def ask(msg, addr):
        s.sendto(msg.encode(), addr)
        try:
            while True:
                reply, frm = s.recvfrom(2048)
                if not msg.startswith("see") and reply.decode() != msg.split()[0]:
                    continue
                return reply.decode()
        except OSError:
            return None

    a = ask("see", (one, port))
    if a is None:
        print("blocked")
        return
    # filtering first: the second server must not have been talked to yet
    filtering = ("endpoint-independent" if ask(f"otherhost {two}", (one, port)) else
                 "address-dependent" if ask("otherport", (one, port)) else "address-and-port-dependent")
    b, c = ask("see", (one, port + 1)), ask("see", (two, port))
    mapping = ("endpoint-independent" if a == b == c else
               "address-dependent" if a == b else "address-and-port-dependent")
    kept = "preserved" if a.split()[1] == "40000" else "changed"
    print(f"mapping {mapping}, filtering {filtering}, port {kept}")


EXPECT = {  # topology line of the NAT -> what the probe must say
    "type=fullcone": "mapping endpoint-independent, filtering endpoint-independent, port preserved",
    "type=fullcone ports=random": "mapping endpoint-independent, filtering endpoint-independent, port changed",
    "type=restricted": "mapping endpoint-independent, filtering address-dependent, port preserved",
    "type=port-restricted": "mapping endpoint-independent, filtering address-and-port-dependent, port preserved",
    "type=port-restricted ports=random": "mapping endpoint-independent, filtering address-and-port-dependent, port changed",
    "type=symmetric": "mapping address-and-port-dependent, filtering address-and-port-dependent, port changed",
    "type=none": "mapping endpoint-independent, filtering address-and-port-dependent, port preserved",
    "udp=block": "blocked",
    "via=cg type=fullcone": "mapping address-and-port-dependent, filtering address-and-port-dependent, port changed",
}


def selftest():
    me, fails = os.path.realpath(__file__), 0
    topo = ["ipv6", "host s1", "host s2", "nat cg type=symmetric"]
    for i, opts in enumerate(EXPECT):
        topo += [f"nat n{i} {opts}", f"host h{i} via=n{i}"]
    if shutil.which("miniupnpd", path="/usr/sbin:/usr/bin"):
        topo += ["nat upnp upnp=on", "host hu via=upnp"]
    lab = build("natlabtest", "\n".join(topo))
    try:
        for s in ("s1", "s2"):
            p = subprocess.Popen(["ip", "netns", "exec", nsname(lab, s), sys.executable, me, "_probe_server", "3478"],
                                 stdout=subprocess.PIPE)
            p.stdout.read(2)
        s1, s2 = (lab["nodes"][s]["ip"] for s in ("s1", "s2"))

        def start_probe(h):
            return subprocess.Popen(["ip", "netns", "exec", nsname(lab, h), sys.executable, me, "_probe", s1, s2],
                                    stdout=subprocess.PIPE, text=True)

        def run_probe(h):
            return start_probe(h).communicate()[0].strip()

        def report(what, ok, detail=""):
            nonlocal fails
            fails += not ok
            print(f"{'ok  ' if ok else 'FAIL'} {what}{'' if ok else ': ' + detail}")

        probes = [start_probe(f"h{i}") for i in range(len(EXPECT))]
        for p, (opts, want) in zip(probes, EXPECT.items()):
            got = p.communicate()[0].strip()
            report(f"{opts}: {want}", got == want, got)
        cut(lab, "n0", "s1")
        got = run_probe("h0")
        report("cut between two sites", got == "blocked", got)
        heal(lab)
        got = run_probe("h0")
        report("heal", got != "blocked", got)
        cut(lab, "h0", None)
        report("cut of an uplink", run_probe("h0") == "blocked")
        heal(lab)
        before = lab["nodes"]["n0"]["ip"]
        with contextlib.redirect_stdout(None):
            reboot(lab, "n0", "auto", 0)
        report("reboot with a new address", before != lab["nodes"]["n0"]["ip"] and run_probe("h0") == EXPECT["type=fullcone"])
        shape(lab, "s1", {"delay": 50})
        code = (f"import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(2)\n"
                f"s.sendto(b'see',('{s1}',3478));s.recv(99)\nt=time.monotonic()\n"
                f"s.sendto(b'see',('{s1}',3478));s.recv(99)\nprint(time.monotonic()-t)")
        rtt = float(sh("ip", "netns", "exec", nsname(lab, "s2"), sys.executable, "-c", code))
        report(f"50 ms each way ({'netem' if have_netem() else 'user-space shaper'}): round trip {rtt * 1000:.1f} ms",
               0.099 < rtt < 0.125)
        shape(lab, "s1", {})
        code6 = (f"import socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_STREAM)\ns.settimeout(2)\n"
                 f"try: s.connect(('{lab['nodes']['s2']['ip6']}',9))\nexcept ConnectionRefusedError: print('there')")
        report("ipv6 out through a home router", "there" in sh(
            "ip", "netns", "exec", nsname(lab, "h0"), sys.executable, "-c", code6, check=False))
        code6 = code6.replace(lab["nodes"]["s2"]["ip6"], lab["nodes"]["h0"]["ip6"])
        report("ipv6 in is filtered", "there" not in sh(
            "ip", "netns", "exec", nsname(lab, "s2"), sys.executable, "-c", code6, check=False))
        if "upnp" in lab["nodes"]:
            # NAT-PMP: ask for outside port 7777 -> inside 7777, then send to it from the internet
            code = ("import socket,struct\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('0.0.0.0',7777))\n"
                    "s.settimeout(3)\ns.sendto(struct.pack('!BBHHHI',0,1,0,7777,7777,600),('192.168.1.1',5351))\n"
                    "r=s.recv(99)\nprint(struct.unpack('!BBHIHHI',r)[5],flush=True)\nprint(s.recv(99).decode())")
            p = subprocess.Popen(["ip", "netns", "exec", nsname(lab, "hu"), sys.executable, "-c", code],
                                 stdout=subprocess.PIPE, text=True)
            port = p.stdout.readline().strip() or 9
            sh("ip", "netns", "exec", nsname(lab, "s1"), sys.executable, "-c",
               "import socket\nsocket.socket(socket.AF_INET,socket.SOCK_DGRAM)"
               f".sendto(b'mapped',('{lab['nodes']['upnp']['ip']}',{port}))")
            got = p.communicate()[0].strip()
            report("a port mapping by NAT-PMP lets packets in", got == "mapped", got)
    finally:
        down("natlabtest")
    report_left = namespaces("natlabtest")
    if report_left:
        print("FAIL namespaces left:", *report_left)
    return 1 if fails or report_left else 0


# ---------------------------------------------------------------- command line

def read(topology):
    if topology == "-":
        return sys.stdin.read()
    with open(topology) as f:
        return f.read()


def show(lab):
    for n, d in lab["nodes"].items():
        extra = " ".join(f"{k}={d[k]}" for k in ("type", "ports", "udp", "upnp", "hairpin", "input", "lan", "delay", "jitter", "loss") if k in d)
        print(f"{d['kind']:4} {n:10} {d['ip']:15} {d['ip6'] if lab['ipv6'] else '':18} via={d.get('via', 'inet'):10} {extra}")


def main(argv):
    rest = []
    if "--" in argv:
        i = argv.index("--")
        argv, rest = argv[:i], argv[i + 1:]

    def option(name):
        if name in argv:
            i = argv.index(name)
            value = argv[i + 1]
            del argv[i:i + 2]
            return value

    match argv:
        case ["up", lab, topology]:
            show(build(lab, read(topology)))
        case ["down", lab]:
            down(lab)
        case ["exec", lab, name] if rest:
            lab = load(lab)
            if name != "inet":
                node(lab, name)
            os.execvp("ip", ["ip", "netns", "exec", nsname(lab, name), *rest])
        case ["show", lab]:
            show(load(lab))
        case ["addr", lab, name]:
            print(node(load(lab), name)["ip"])
        case ["addr", lab, name, "--v6"]:
            print(node(load(lab), name)["ip6"])
        case ["addr", lab, name, "--public"]:
            lab = load(lab)
            node(lab, name)
            print(public_ip(lab, name))
        case ["cut", lab, a, *b] if len(b) < 2:
            cut(load(lab), a, b[0] if b else None)
        case ["heal", lab]:
            heal(load(lab))
        case ["reboot", *_]:
            new_ip, outage = option("--ip"), float(option("--down") or 0)
            _, lab, name = argv
            reboot(load(lab), name, new_ip, outage)
        case ["uplink", lab, name, ("down" | "up") as to]:
            switch_uplink(load(lab), name, to == "up")
        case ["prefix", lab, name, *keep] if keep in ([], ["--keep"]):
            change_prefix(load(lab), name, bool(keep))
        case ["link", lab, name, *opts]:
            lab, opts = load(lab), dict(o.split("=") for o in opts)
            shape(lab, name, opts)
            for k in ("delay", "jitter", "loss"):
                lab["nodes"][name].pop(k, None)
            lab["nodes"][name].update(opts)
            save(lab)
        case ["mappings", lab, name]:
            lab = load(lab)
            node(lab, name)
            child = subprocess.run(["ip", "netns", "exec", nsname(lab, name), "cat", "/proc/net/nf_conntrack"],
                                   capture_output=True, text=True)
            print("\n".join(l for l in child.stdout.splitlines() if " udp " in l))
        case ["selftest"]:
            return selftest()
        case ["_shaper", ns, dev, delay, jitter, loss]:
            shaper(ns, dev, float(delay), float(jitter), float(loss))
        case ["_probe_server", port]:
            probe_server(int(port))
        case ["_probe", one, two]:
            probe(one, two)
        case _:
            print(__doc__)
            return 0 if argv in ([], ["help"], ["--help"], ["-h"]) else 2


if __name__ == "__main__":
    for sig in (signal.SIGTERM, signal.SIGHUP):  # so that a half-built lab is taken down
        signal.signal(sig, lambda sig, _: sys.exit(128 + sig))
    try:
        sys.exit(main(sys.argv[1:]))
    except (Error, OSError, ValueError) as e:
        sys.exit(f"natlab: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
