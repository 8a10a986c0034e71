//! Hosts that find each other on one link by mDNS alone: no DHT, no names, no addresses given. Real processes in network
//! namespaces of their own, joined by a bridge; this file runs itself again inside.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes, files, deadlines")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mdns_sd::{ServiceDaemon, ServiceEvent};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
/// The namespaces in which to begin again: they end with the test, however it ends.
const UNSHARE: [&str; 7] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
const INSIDE: &str = "ALDIS_LAN_INSIDE";

#[test]
fn hosts_on_one_link_find_each_other_by_it_alone_and_one_that_may_not_says_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let as_root = rustix::process::geteuid().is_root();
    let more: &[&str] = if as_root { &[] } else { &["--user", "--map-root-user"] };
    let may = Command::new("unshare").args(more).args(["--net", "ip", "link"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: this user may not make network namespaces");
        return;
    }
    let name = "hosts_on_one_link_find_each_other_by_it_alone_and_one_that_may_not_says_nothing";
    let mut again = Command::new("unshare");
    again.args(more).args(UNSHARE).arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
    assert!(again.env(INSIDE, "1").status().unwrap().success());
}

fn inside() {
    // Names of namespaces are files in /run: ours must not be seen outside.
    run("mount -t tmpfs tmpfs /run");
    run("ip link set lo up");
    run("ip link add name hub type bridge mcast_snooping 0");
    run("ip addr add 192.168.7.254/24 dev hub");
    run("ip link set hub up");
    let directory = tempfile::tempdir().unwrap();
    for network in ["ours", "other"] {
        aldis(directory.path(), &["genesis", "new", network]);
    }
    let home = directory.path();

    let mut one = Host::start(home, "one", Some(1), "ours", &[]);
    let mut two = Host::start(home, "two", Some(2), "ours", &[]);
    let stranger = Host::start(home, "stranger", Some(3), "other", &[]);
    let silent = Host::start(home, "silent", Some(4), "ours", &["--lan", "false"]);
    let link_local = Host::start(home, "linklocal", None, "ours", &[]);
    for (host, other) in [(&one, &two), (&two, &one), (&link_local, &one), (&one, &link_local)] {
        host.until("a link", |status| host.is_linked(status, other));
    }
    let status = link_local.status();
    for link in status["links"].as_array().unwrap() {
        let address: SocketAddr = link["address"].as_str().unwrap().parse().unwrap();
        assert!(matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local()), "{address}");
    }
    for host in [&one, &two, &link_local] {
        assert!(!host.is_linked(&host.status(), &silent) && !host.is_linked(&host.status(), &stranger));
    }
    // A host of another network is told apart by its tag, and not by a handshake.
    assert_eq!(stranger.metric("aldis_handshakes_total{outcome=\"other_network\"}"), 0.0);
    assert!(one.said() > 0, "the count counts");
    assert_eq!(silent.said(), 0, "what is switched off says nothing");

    says_nothing_in_public(home);
    says_goodbye(&mut two);
    comes_back_with_its_cable(&one, home);
    one.terminate();
}

/// Where a machine has an address of the public internet, strangers far away can send to the port of mDNS: they get nothing.
fn says_nothing_in_public(home: &Path) {
    namespace("public", None);
    run("ip -n public addr add 45.1.2.3/24 dev eth0");
    run("ip addr add 45.1.2.254/24 dev hub");
    let public = Host::begin(home, "public", "ours", &[]);
    assert!(answered("192.168.7.1:5353").is_some(), "the question is one that is answered");
    assert_eq!(answered("45.1.2.3:5353"), None);
    assert_eq!(public.said(), 0);
}

/// How many bytes come back for a question of 38, as a stranger would send it.
fn answered(whom: &str) -> Option<usize> {
    let question = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x06_aldis\x04_udp\x05local\0\0\x0c\0\x01";
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.send_to(question, whom).unwrap();
    socket.recv(&mut [0; 9_000]).ok()
}

/// A host that ends tells the link so, long before its records run out.
fn says_goodbye(host: &mut Host) {
    let daemon = ServiceDaemon::new().unwrap();
    let events = daemon.browse("_aldis._udp.local.").unwrap();
    let short = host.id.get(..16).unwrap().to_owned();
    let heard = |fits: &dyn Fn(&ServiceEvent) -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        while !fits(&events.recv_deadline(end).unwrap()) {}
    };
    heard(&|event| matches!(event, ServiceEvent::ServiceResolved(found) if found.fullname.starts_with(&short)));
    host.terminate();
    heard(&|event| matches!(event, ServiceEvent::ServiceRemoved(_, name) if name.starts_with(&short)));
    daemon.shutdown().unwrap();
}

/// A host whose cable was out when it began is found once it is in.
fn comes_back_with_its_cable(other: &Host, home: &Path) {
    namespace("late", None);
    run("ip -n late link set eth0 down");
    let late = Host::begin(home, "late", "ours", &[]);
    late.until("the host runs", |_| true);
    run("ip -n late link set eth0 up");
    run("ip -n late addr add 192.168.7.9/24 dev eth0");
    late.until("a link", |status| late.is_linked(status, other));
}

struct Host {
    name: String,
    id: String,
    child: Child,
}

impl Host {
    fn start(home: &Path, name: &str, number: Option<u8>, network: &str, more: &[&str]) -> Self {
        namespace(name, number);
        Self::begin(home, name, network, more)
    }

    fn begin(home: &Path, name: &str, network: &str, more: &[&str]) -> Self {
        let (data, genesis) = (format!("data-{name}"), format!("{network}.genesis.toml"));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, env!("CARGO_BIN_EXE_aldis"), "run", "--dht", "false"]);
        command.args(["--data-dir", &data, "--genesis", &genesis]).args(more).current_dir(home);
        let log = std::fs::File::create(home.join(format!("{name}.log"))).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut host = Self { name: name.to_owned(), id: String::new(), child };
        host.id = host.until("the host runs", |_| true)["host"].as_str().unwrap().to_owned();
        host
    }

    fn status(&self) -> Value {
        self.until("a status", |_| true)
    }

    fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let output = in_namespace(&self.name, env!("CARGO_BIN_EXE_aldis"), &["status", "--json"]);
            let status = serde_json::from_slice(&output).ok();
            match status {
                Some(status) if fits(&status) => return status,
                status => assert!(Instant::now() < end, "{}: {what} did not come: {status:#?}", self.name),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_linked(&self, status: &Value, other: &Host) -> bool {
        status["links"].as_array().unwrap().iter().any(|link| link["host"] == *other.id)
    }

    /// How many mDNS packets it has sent.
    fn said(&self) -> u64 {
        let rules = in_namespace(&self.name, "nft", &["-j", "list", "counters"]);
        let rules: Value = serde_json::from_slice(&rules).unwrap();
        let counters = rules["nftables"].as_array().unwrap().iter();
        counters.filter_map(|item| item["counter"]["packets"].as_u64()).sum()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = in_namespace(&self.name, "curl", &["-s", "http://127.0.0.1:8400/metrics"]);
        let text = String::from_utf8(text).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
    }

    fn terminate(&mut self) {
        run(&format!("kill -TERM {}", self.child.id()));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A namespace at the bridge; without a number it has only the IPv6 address that its cable gives it.
fn namespace(name: &str, number: Option<u8>) {
    run(&format!("ip netns add {name}"));
    run(&format!("ip link add name {name} type veth peer name eth0 netns {name}"));
    run(&format!("ip link set dev {name} master hub up"));
    run(&format!("ip -n {name} link set lo up"));
    run(&format!("ip -n {name} link set eth0 up"));
    if let Some(number) = number {
        run(&format!("ip -n {name} addr add 192.168.7.{number}/24 dev eth0"));
    }
    run(&format!("ip netns exec {name} nft add table inet t"));
    run(&format!("ip netns exec {name} nft add counter inet t said"));
    run(&format!("ip netns exec {name} nft add chain inet t out {{ type filter hook output priority 0; }}"));
    run(&format!("ip netns exec {name} nft add rule inet t out udp sport 5353 counter name said"));
}

fn in_namespace(name: &str, program: &str, arguments: &[&str]) -> Vec<u8> {
    Command::new("ip").args(["netns", "exec", name, program]).args(arguments).output().unwrap().stdout
}

fn aldis(directory: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_aldis")).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
