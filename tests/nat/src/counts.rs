//! Packets, counted by the kernel where they leave a node or come to it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::lab::Lab;

/// Addresses at which nobody of the internet is, or somebody's own network.
const NOBODY: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, \
                      192.0.2.0/24, 192.168.0.0/16, 224.0.0.0/3";
/// Most flows that are told apart; more are not counted.
const FLOWS_MAX: usize = 65_535;

/// What a host sent from its port for links: to nobody's addresses, to `victim`, and to how many places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Places at nobody's addresses, in words.
    pub(crate) to_nobody: Vec<String>,
    pub(crate) to_victim: u64,
    /// Addresses with ports.
    pub(crate) places: usize,
    /// Those of the victim.
    pub(crate) victims_places: usize,
}

/// Begins to count what leaves the port for links of a node. `but` is not counted.
pub(crate) async fn count_sent(lab: &Lab, node: &str, victim: &str, but: &str) -> Result<()> {
    let rules = format!(
        "table inet counted {{
  set nobody {{ type ipv4_addr . inet_service; size {FLOWS_MAX}; flags dynamic; }}
  counter victim {{ }}
  set places {{ type ipv4_addr . inet_service; size {FLOWS_MAX}; flags dynamic; }}
  set victims {{ type ipv4_addr . inet_service; size {FLOWS_MAX}; flags dynamic; }}
  chain out {{
    type filter hook output priority 0;
    udp sport != 47474 accept
    ip daddr {{ {but} }} accept
    ip daddr {{ {NOBODY} }} update @nobody {{ ip daddr . udp dport }}
    ip daddr {victim} counter name victim
    ip daddr {victim} update @victims {{ ip daddr . udp dport }}
    update @places {{ ip daddr . udp dport }}
  }}
}}
"
    );
    lab.run_at(node, &["nft", "-f", "-"], &rules).await.map(drop)
}

/// What was counted since.
pub(crate) async fn sent(lab: &Lab, node: &str) -> Result<Sent> {
    Ok(Sent {
        to_nobody: members(lab, node, "nobody").await?.iter().map(Value::to_string).collect(),
        to_victim: counter(lab, node, "victim").await?,
        places: members(lab, node, "places").await?.len(),
        victims_places: members(lab, node, "victims").await?.len(),
    })
}

/// What came to a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Came {
    pub(crate) packets: u64,
    /// Told apart by both ends: dials, and connections of TCP.
    pub(crate) flows: usize,
}

/// Begins to count everything that comes to a node.
pub(crate) async fn count_came(lab: &Lab, node: &str) -> Result<()> {
    let rules = format!(
        "table inet counted {{
  counter every {{ }}
  set flows {{ type ipv4_addr . inet_proto . inet_service . inet_service; size {FLOWS_MAX}; flags dynamic; }}
  chain in {{
    type filter hook input priority 0;
    meta l4proto {{ tcp, udp }} counter name every
    meta l4proto {{ tcp, udp }} update @flows {{ ip saddr . meta l4proto . th sport . th dport }}
  }}
}}
"
    );
    lab.run_at(node, &["nft", "-f", "-"], &rules).await.map(drop)
}

/// What was counted since.
pub(crate) async fn came(lab: &Lab, node: &str) -> Result<Came> {
    Ok(Came { packets: counter(lab, node, "every").await?, flows: members(lab, node, "flows").await?.len() })
}

async fn counter(lab: &Lab, node: &str, name: &str) -> Result<u64> {
    let all = listed(lab, node, "counter", name).await?;
    let found = all.iter().find_map(|it| it.pointer("/counter/packets")?.as_u64());
    found.with_context(|| format!("no counter {name} at {node}"))
}

async fn members(lab: &Lab, node: &str, name: &str) -> Result<Vec<Value>> {
    let all = listed(lab, node, "set", name).await?;
    let set = all.iter().find_map(|it| it.get("set")).with_context(|| format!("no set {name} at {node}"))?;
    Ok(set.get("elem").and_then(Value::as_array).cloned().unwrap_or_default())
}

async fn listed(lab: &Lab, node: &str, kind: &str, name: &str) -> Result<Vec<Value>> {
    let text = lab.run_at(node, &["nft", "-j", "list", kind, "inet", "counted", name], "").await?;
    let mut all: Value = serde_json::from_str(&text)?;
    Ok(all.get_mut("nftables").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}
