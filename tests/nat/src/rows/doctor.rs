//! What an operator is told behind each kind of router: the verdict and the next thing to do, for people and for scripts.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Scene;
use crate::host::wait_for;

/// Behind `nh` is a provider's router, and `nh` knows by its own address that it is not public. The provider of `nk` uses
/// addresses inside that look public.
pub(super) const TOPOLOGY: &str = "
    host d
    host c delay=12.5
    host e delay=12.5
    nat na type=restricted delay=12.5
    host a via=na
    nat nb type=port-restricted delay=12.5
    host b via=nb
    nat ng type=symmetric delay=12.5
    host g via=ng
    nat ph type=port-restricted delay=12.5
    nat nh via=ph type=port-restricted upnp=on
    host h via=nh
    nat pk type=port-restricted delay=12.5 lan=13.200.0.0
    nat nk via=pk type=port-restricted upnp=on
    host k via=nk
    nat ni type=port-restricted udp=block delay=12.5
    host i via=ni
";
/// Until all know what stands before them.
const KNOWN_MAX: Duration = Duration::from_secs(60);

/// Letters of each sentence that the report shows; all of them stand beside the logs.
const SHOWN_MAX: usize = 80;

/// What must be said at one node.
struct Case {
    node: &'static str,
    /// As the row shows it.
    name: &'static str,
    check: &'static str,
    verdict: &'static str,
    /// What stands before it, in the status.
    nat: &'static str,
    behind_two: bool,
    summary: &'static str,
    /// Empty: nothing is to be done.
    next: &'static str,
}

const CASES: &[Case] = &[
    Case {
        node: "c",
        name: "no router",
        check: "nat",
        verdict: "ok",
        nat: "open",
        behind_two: false,
        summary: "other hosts can dial this one",
        next: "",
    },
    Case { node: "a", name: "restricted cone", nat: "restricted", ..ANSWERS },
    Case { node: "b", name: "port-restricted cone", ..ANSWERS },
    Case {
        node: "g",
        name: "symmetric",
        nat: "symmetric",
        summary: "the router shows this host at another port to each other side",
        next: "let the router forward UDP port 47474 to this machine (192.168.1.10), or switch on PCP or UPnP in it",
        ..ANSWERS
    },
    Case { node: "h", name: "CGNAT, by the router's word", ..SECOND },
    Case { node: "k", name: "CGNAT, by what others see", ..SECOND },
    Case {
        node: "k",
        name: "and what its router has opened",
        check: "mapping",
        summary: "nobody comes so far, since another router stands before it",
        next: "",
        ..SECOND
    },
    Case {
        node: "i",
        name: "UDP blocked",
        check: "udp",
        verdict: "wrong",
        nat: "unknown",
        summary: "UDP is blocked",
        next: "let UDP out to any port, and the answers back in",
        ..ANSWERS
    },
];
/// A router that lets in only answers.
const ANSWERS: Case = Case {
    node: "",
    name: "",
    check: "nat",
    verdict: "note",
    nat: "port_restricted",
    behind_two: false,
    summary: "a router or firewall lets in only answers",
    next: "nothing must be done. Better still: let the router forward UDP port 47474 to this machine (192.168.1.10)",
};
/// The same with the provider's router behind it.
const SECOND: Case = Case {
    behind_two: true,
    summary: "There seems to be a second router behind yours, usually the provider's",
    next: "ask the provider for a public IPv4 address or for IPv6",
    ..ANSWERS
};

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "e", "a", "b", "g", "h", "k", "i"]).await?;
    // What is not known by then shows below.
    _ = wait_for(KNOWN_MAX, async || {
        let mut all = true;
        for case in CASES {
            all &= knows(scene, case).await;
        }
        all
    })
    .await;
    for host in 0..scene.hosts.len() {
        let host = scene.host(host)?;
        let node = host.node.clone();
        let (text, json) = tokio::try_join!(host.doctor(scene.lab, &[]), host.doctor(scene.lab, &["--json"]))?;
        std::fs::write(scene.place.directory.join(format!("doctor-{node}.txt")), &text)?;
        let report: Value = serde_json::from_str(&json).with_context(|| format!("the doctor at {node} said {json}"))?;
        for case in CASES.iter().filter(|case| case.node == node) {
            let (said, holds) = case.judge(&text, &report);
            scene.demand(case.name, said, &format!("{}: {}", case.verdict, case.summary), holds);
        }
    }
    Ok(())
}

/// Whether the host says itself what the doctor is to say.
async fn knows(scene: &Scene<'_>, case: &Case) -> bool {
    let Some(host) = scene.hosts.iter().find(|host| host.node == case.node) else { return false };
    let Ok(status) = host.status().await else { return false };
    status.reach.nat == case.nat && status.reach.behind_two == case.behind_two
}

impl Case {
    /// What was said, and whether it is what must be said, in words and in JSON.
    fn judge(&self, text: &str, report: &Value) -> (String, bool) {
        let checks = report.get("checks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let word = |check: &Value, key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(check) = checks.iter().find(|check| word(check, "check") == self.check) else {
            return (format!("no check {}", self.check), false);
        };
        let [verdict, summary, next] = ["verdict", "summary", "next"].map(|key| word(check, key));
        let is_said = verdict == self.verdict && summary.contains(self.summary) && next.contains(self.next);
        let is_done = self.next.is_empty() == next.is_empty();
        let fact = |name: &str| check.pointer(&format!("/facts/{name}"));
        let is_meant = self.check != "nat"
            || (fact("nat") == Some(&self.nat.into()) && fact("behind_two") == Some(&self.behind_two.into()));
        // For people the same is broken into lines.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let head = if self.verdict == "wrong" { "WRONG" } else { self.verdict };
        let is_written = text.contains(&format!("{head} {} {summary}", self.check))
            && (next.is_empty() || text.contains(&format!("-> {next}")));
        // Nothing else is wrong with a host at home.
        let wrong = report.get("wrong").and_then(Value::as_u64);
        let is_well = (self.verdict == "wrong") == (wrong > Some(0));
        let short = |words: &str| words.chars().take(SHOWN_MAX).collect::<String>();
        let next = if next.is_empty() { String::new() } else { format!(" -> {}", short(&next)) };
        (format!("{verdict}: {}{next}", short(&summary)), is_said && is_done && is_meant && is_written && is_well)
    }
}
