//! The certificate that browsers see: until when, for which names, and whether they believe it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use serde_json::json;
use url::Url;

use super::finding::Finding;
use crate::cli::http;
use crate::config::Config;
use crate::net::gateway;

const NAME: &str = "certificate";
const DAY_SECONDS: u64 = 86_400;
/// Renewal is usually done thirty days before the end; so few mean that it fails.
const DAYS_GOOD: u64 = 14;
/// No certificate has this name: whoever is asked for it says which ones it has.
const NO_NAME: &str = "nobody.invalid";
/// After the end of every certificate: 9999-12-31.
const NEVER: Duration = Duration::from_secs(253_402_300_799);

pub(super) async fn check(config: Config) -> Vec<Finding> {
    let urls: Vec<Url> = config.public_urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
    let secure: Vec<&Url> = urls.iter().filter(|url| url.scheme() == "wss").collect();
    if let Some((chain, key)) = &config.tls {
        return vec![of_files(chain, key, &secure)];
    }
    if secure.is_empty() {
        let local = config.listen_http.ip().is_loopback();
        let finding = if local {
            Finding::note(NAME, "there is none: only browsers on this machine can use this host")
        } else {
            Finding::note(NAME, "there is none, and browsers refuse most of WebRTC on pages without TLS")
        };
        let next = "for browsers elsewhere give it a name and TLS: --tls-cert and --tls-key, or a proxy and --public-urls \
                    wss://relay.example.org/v1. A host needs none to serve its network";
        return vec![finding.next(next).facts(json!({ "source": null }))];
    }
    let mut findings = Vec::new();
    for url in secure {
        findings.push(of_proxy(url).await);
    }
    findings
}

/// Of the files in the configuration.
fn of_files(chain: &Path, key: &Path, urls: &[&Url]) -> Finding {
    if let Err(error) = gateway::check_certificate(chain, key) {
        let next = "give the chain that belongs to the key, the host's own certificate first, both as PEM";
        return Finding::wrong(NAME, error.to_string(), next)
            .facts(json!({ "source": chain, "problem": error.to_string() }));
    }
    let read = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) => finding(&chain.display().to_string(), &certificates, urls),
        Err(error) => Finding::wrong(NAME, format!("{}: {error}", chain.display()), "see that the file can be read"),
    }
}

/// Of the proxy before the host, as browsers see it.
async fn of_proxy(url: &Url) -> Finding {
    match http::certificates(url).await {
        Ok(certificates) => finding(url.as_str(), &certificates, &[url]),
        Err(error) => Finding::note(NAME, format!("{url} cannot be reached from this machine: {error:#}"))
            .next(
                "try it from another network: many routers do not let a machine reach its own outside address. If it fails there \
                 too, look at the proxy and at the name's address",
            )
            .facts(json!({ "source": url.as_str(), "problem": format!("{error:#}") })),
    }
}

/// What a chain says, and what browsers would say of it.
#[derive(Debug)]
struct Account {
    not_before: Option<u64>,
    not_after: Option<u64>,
    names: Vec<String>,
    /// Names of our URLs that it lacks.
    lacks: Vec<String>,
    /// Why browsers would not believe it, its dates and names aside.
    distrust: Option<String>,
}

fn account(chain: &[CertificateDer<'static>], urls: &[&Url], now: Duration) -> Result<Account, Error> {
    let (own, others) = chain.split_first().ok_or(CertificateError::BadEncoding)?;
    let own = ParsedCertificate::try_from(own)?;
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let at = |time: Duration| {
        let time = UnixTime::since_unix_epoch(time);
        verify_server_cert_signed_by_trust_anchor(&own, &roots, others, time, algorithms.all)
    };
    // The library looks at the dates first, and names them when they do not fit.
    let not_before = match at(Duration::ZERO) {
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            Some(not_before.as_secs())
        }
        _ => None,
    };
    let not_after = match at(NEVER) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Some(not_after.as_secs()),
        _ => None,
    };
    // A time at which it is valid, so that what is said is about trust.
    let (first, last) = (not_before.unwrap_or(0), not_after.unwrap_or(u64::MAX));
    let within = Duration::from_secs(now.as_secs().clamp(first, last.max(first)));
    let distrust = match at(within) {
        Ok(()) => None,
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Some("it is signed by nobody whom browsers know, or a link of the chain is missing".to_owned())
        }
        Err(error) => Some(error.to_string()),
    };
    let named = |name: &str| ServerName::try_from(name.to_owned()).map(|name| verify_server_name(&own, &name));
    let names = match named(NO_NAME) {
        Ok(Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }))) => {
            presented.iter().map(|name| bare(name)).collect()
        }
        _ => Vec::new(),
    };
    let hosts = urls.iter().filter_map(|url| url.host_str()).map(|host| host.trim_matches(['[', ']']).to_owned());
    let lacks = hosts.filter(|host| !matches!(named(host), Ok(Ok(())))).collect();
    Ok(Account { not_before, not_after, names, lacks, distrust })
}

/// The library writes `DnsName("a.example")`.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
}

fn finding(source: &str, chain: &[CertificateDer<'static>], urls: &[&Url]) -> Finding {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let account = match account(chain, urls, now) {
        Ok(account) => account,
        Err(error) => {
            return Finding::wrong(
                NAME,
                format!("{source}: {error}"),
                "give a certificate as browsers want it, as PEM",
            );
        }
    };
    // Without an end that could be found it has none: some are made to hold for ever.
    let (now, end) = (now.as_secs(), account.not_after.unwrap_or(NEVER.as_secs()));
    let days = end.saturating_sub(now) / DAY_SECONDS;
    let renew = "renew it; a running host reads it again by itself when the file changes";
    let wrong = |what: String, next: &str| Finding::wrong(NAME, format!("{source}: {what}"), next);
    let finding = if end < now {
        wrong(format!("it has expired on {}; no browser takes it", date(end)), renew)
    } else if account.not_before.is_some_and(|begin| begin > now) {
        let begin = date(account.not_before.unwrap_or(0));
        wrong(format!("it is not valid before {begin}"), "set this machine's clock, or wait")
    } else if !account.lacks.is_empty() {
        let (lacks, names) = (account.lacks.join(", "), account.names.join(", "));
        let next = "get one for the names in public_urls, or correct public_urls";
        wrong(format!("it is for {names}, not for {lacks}; browsers refuse it there"), next)
    } else {
        let names = account.names.join(", ");
        let good = format!("{source}: for {names}, until {} ({days} days)", date(end));
        match &account.distrust {
            Some(distrust) => Finding::note(
                NAME,
                format!("{good}; browsers do not trust it by themselves: {distrust}"),
            )
            .next(
                "for anybody's browser get one from a public authority, such as Let's Encrypt, and give the full chain",
            ),
            None if days < DAYS_GOOD => Finding::note(NAME, good).next(renew),
            None => Finding::ok(NAME, format!("{good}; browsers trust it")),
        }
    };
    finding.facts(json!({
        "source": source, "not_before": account.not_before, "not_after": account.not_after,
        "days_left": if end < now { 0 } else { days }, "names": account.names, "missing_names": account.lacks,
        "trusted": account.distrust.is_none(), "distrust": account.distrust,
    }))
}

/// A day of the Gregorian calendar, in UTC (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(unix: u64) -> String {
    let days = unix / DAY_SECONDS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // The year begins in March, so that the leap day is its last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_767_225_599, "2025-12-31"),
            (4_102_444_800, "2100-01-01"),
        ] {
            assert_eq!(date(unix), expected);
        }
    }
}
