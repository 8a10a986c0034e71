//! Every field of the configuration, once: name, kind, default, unit and meaning. Flags, `ALDIS_*` variables, the file's
//! fields, the help text and `aldis config` are all made of this table.

use crate::relay::Settings;
use crate::relay::limits::Rate;

/// What values a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One text or number.
    One,
    /// `true` or `false`.
    Switch,
    /// Several texts: a repeated flag, a variable with commas, an array in the file.
    Many,
    /// A JSON array as flag or variable, an array of tables in the file.
    Json,
}

/// One field of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// As it stands in the file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What a value looks like, for help.
    pub shape: &'static str,
    /// The default; empty when there is none, or when [`Field::default_text`] takes it from the machine.
    pub default: &'static str,
    /// What it means, with its unit. One line.
    pub meaning: &'static str,
}

impl Field {
    /// The command line flag, without dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The default as text; empty when there is none.
    #[must_use]
    pub fn default_text(&self) -> String {
        let machine = Settings::default();
        let rate = |rate: Rate| format!("{}/{}", rate.per_second, rate.burst);
        match self.name {
            "edge_rate" => rate(machine.edge_rate),
            "edge_change_rate" => rate(machine.edge_change_rate),
            "address_rate" => rate(machine.address_rate),
            "address_open_rate" => rate(machine.address_open_rate),
            "edges_per_address_max" => machine.edges_per_address_max.to_string(),
            "grace_seconds" => machine.grace.as_secs().to_string(),
            _ => self.default.to_owned(),
        }
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ALDIS_{}", self.name.to_uppercase())
    }
}

const fn field(
    name: &'static str,
    kind: Kind,
    shape: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Field {
    Field { name, kind, shape, default, meaning }
}

/// All fields, in the order in which people meet them.
pub const FIELDS: [Field; 35] = [
    field("network", Kind::One, "NAME", "main", "Open network to be in: everybody who knows its name may run a host"),
    field("genesis", Kind::One, "FILE", "", "Genesis file of a closed network, instead of `network`"),
    field(
        "data_dir",
        Kind::One,
        "DIR",
        "",
        "Where the host keeps its key and its memory; default: ~/.local/share/aldis/<network tag>",
    ),
    // One fixed port, so that a firewall rule or a port forwarding can be written once. The DHT knows IPv4 alone; everything else takes both.
    field(
        "listen_quic",
        Kind::One,
        "ADDR:PORT",
        "[::]:47474",
        "UDP address for links with other hosts; [::] takes IPv6 and IPv4, 0.0.0.0 IPv4 alone",
    ),
    field(
        "stun",
        Kind::Switch,
        "true|false",
        "true",
        "Answer STUN requests at listen_quic, so that browsers learn their own address without anybody else's server",
    ),
    // Loopback: browsers demand TLS of anything else, so an operator has to decide about a proxy or a certificate first.
    field(
        "listen_http",
        Kind::One,
        "ADDR:PORT",
        "127.0.0.1:8400",
        "TCP address for edges, pages and status; public only behind a TLS proxy or with tls_cert",
    ),
    field(
        "public_urls",
        Kind::Many,
        "URL",
        "",
        "URLs at which browsers anywhere reach this host, told to edges for fail-over, such as wss://relay.example.org/v1",
    ),
    field("tls_cert", Kind::One, "FILE", "", "PEM certificate chain for listen_http; read again when it changes"),
    field("tls_key", Kind::One, "FILE", "", "PEM private key that belongs to tls_cert"),
    field("dht", Kind::Switch, "true|false", "true", "Find hosts through the BitTorrent mainline DHT, and be found"),
    field(
        "dht_bootstrap",
        Kind::Many,
        "HOST:PORT",
        "",
        "Nodes through which to enter the DHT, instead of the well-known ones",
    ),
    field(
        "dht_share_port",
        Kind::Switch,
        "true|false",
        "false",
        "Have the DHT use the UDP port of listen_quic, so that it tells its outside address: two hosts behind home routers then meet with no other host of the network; Linux only",
    ),
    field(
        "dns_seeds",
        Kind::Many,
        "NAME",
        "",
        "Names in DNS whose TXT records list hosts: aldis=<network tag> [ID@]HOST:PORT ...; at most 8",
    ),
    field(
        "lan",
        Kind::Switch,
        "true|false",
        "true",
        "Find hosts on the same local network by mDNS, and be found; never if listen_quic is on loopback",
    ),
    field("peers", Kind::Many, "[ID@]HOST:PORT", "", "Hosts to link with whatever the DHT says"),
    field(
        "hosts_allow",
        Kind::One,
        "FILE",
        "",
        "The only hosts to link with and to show, this one among them: an id (`aldis id`) a line, # for comments; read again when it changes",
    ),
    field(
        "hosts_deny",
        Kind::One,
        "FILE",
        "",
        "Hosts not to link with and not to show, also if hosts_allow has them; a file like that one, read again when it changes",
    ),
    field(
        "revocation",
        Kind::Many,
        "FILE",
        "",
        "Statement of `aldis id revoke` to publish: every host of the network refuses that identity from then on, for ever",
    ),
    field(
        "addresses",
        Kind::Many,
        "ADDR:PORT",
        "",
        "Addresses at which other hosts reach listen_quic, best first, if it is not the one they see",
    ),
    field(
        "map_ports",
        Kind::Switch,
        "true|false",
        "true",
        "Ask the router by PCP, NAT-PMP or UPnP to let other hosts in at listen_quic, until this host ends",
    ),
    field(
        "map_gateway",
        Kind::Switch,
        "true|false",
        "false",
        "Ask it to let browsers in at listen_http too, which then must not be on 127.0.0.1; needs map_ports",
    ),
    field(
        "allow_private",
        Kind::Switch,
        "true|false",
        "false",
        "Link also with hosts at loopback and private addresses: for a testnet",
    ),
    field(
        "origins",
        Kind::Many,
        "ORIGIN",
        "",
        "Web origins whose pages may use this host, such as https://app.example.org; none stated: all",
    ),
    field("trusted_proxies", Kind::Many, "ADDR", "", "Reverse proxies whose X-Forwarded-For is believed"),
    field("ice_servers", Kind::Json, "JSON", "[]", "STUN and TURN servers handed to edges, as in RTCConfiguration"),
    field(
        "doors",
        Kind::Many,
        "NAME",
        "",
        "Protocols of other systems to speak besides our own: socket-signal, dxos, webtorrent, peerjs, pubsub, matchbox; `aldis` alone: none; none stated: all",
    ),
    field(
        "peerjs_discovery",
        Kind::Switch,
        "true|false",
        "false",
        "Tell whoever asks at /KEY/peers the ids of PeerJS clients of all hosts that have this switched on; for small networks",
    ),
    field("edge_rate", Kind::One, "RATE/BURST", "", "Requests of one edge: per second / at once; 0/0 is no limit"),
    field("edge_change_rate", Kind::One, "RATE/BURST", "", "Joins and leaves of one edge: per second / at once"),
    field("address_rate", Kind::One, "RATE/BURST", "", "Requests of all edges of one address: per second / at once"),
    field("address_open_rate", Kind::One, "RATE/BURST", "", "New sockets of one address: per second / at once"),
    field("edges_per_address_max", Kind::One, "COUNT", "", "Edges that may share an IPv4 address or an IPv6 /64"),
    field("grace_seconds", Kind::One, "SECONDS", "", "How long a session waits for an edge whose socket broke"),
    field("log_format", Kind::One, "human|json", "human", "Form of the log on stderr"),
    field(
        "log_level",
        Kind::One,
        "FILTER",
        "info",
        "error, warn, info, debug or trace; also by module: info,aldis::net=debug",
    ),
];

/// The field with this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}
