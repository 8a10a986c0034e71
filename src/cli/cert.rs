//! `aldis cert dev`: a certificate for localhost, signed by an authority that can sign nothing else any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::print;
use crate::textfile;

/// The longest that all browsers take from an authority that a person installed (Apple's bound).
const LIFETIME: Duration = Duration::from_secs(825 * 86_400);
/// Clocks of two machines differ; a certificate from the future is refused.
const BACKDATED: Duration = Duration::from_secs(86_400);
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Make certificates.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(Dev),
}

/// Make a local authority and its one certificate, for developing with https and wss on this machine.
///
/// The authority's key is thrown away after signing, so that to trust it means to trust this one certificate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis cert dev
  aldis cert dev --name laptop.lan --name 192.168.1.20
  aldis run --tls-cert certs/dev/localhost.pem --tls-key certs/dev/localhost.key
  aldis edge --host wss://localhost:8400/v1 --ca certs/dev/ca.pem --topic lobby")]
struct Dev {
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = "certs/dev")]
    dir: PathBuf,
    /// A further name or address of this machine [repeatable]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let Command::Dev(dev) = &arguments.command;
    let (ca, cert, key) = (dev.dir.join("ca.pem"), dev.dir.join("localhost.pem"), dev.dir.join("localhost.key"));
    if let Some(there) = [&ca, &cert, &key].into_iter().find(|path| path.exists()) {
        bail!("{} exists already; remove the directory to make new certificates", there.display());
    }
    let made = make(&dev.names).context("the certificate cannot be made")?;
    fs::create_dir_all(&dev.dir).with_context(|| format!("{} cannot be made", dev.dir.display()))?;
    textfile::create_secret(&key, &made.key)?;
    write(&cert, &format!("{}{}", made.cert, made.ca))?;
    write(&ca, &made.ca)?;
    print(&advice(&ca, &cert, &key))
}

/// PEM texts.
struct Made {
    ca: String,
    cert: String,
    key: String,
}

fn make(names: &[String]) -> Result<Made, rcgen::Error> {
    let (not_before, not_after) = (SystemTime::now() - BACKDATED, SystemTime::now() + LIFETIME);
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Aldis development authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (ca.not_before, ca.not_after) = (not_before.into(), not_after.into());
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca.self_signed(&ca_key)?;

    let all: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect();
    let mut leaf = CertificateParams::new(all)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = (not_before.into(), not_after.into());
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok(Made { ca: ca_cert.pem(), cert: cert.pem(), key: key.serialize_pem() })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn advice(ca: &Path, cert: &Path, key: &Path) -> String {
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    format!(
        "Made:
  {ca}      the authority; its own key is gone, so it signs nothing else
  {cert}   the certificate, for localhost, 127.0.0.1 and ::1
  {key}   its key

Use it:
  aldis run --tls-cert {cert} --tls-key {key}

Trust it on this machine:
  Chromium  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n aldis-dev -i {ca}     (Debian package libnss3-tools)
  Firefox   Settings, Certificates, Authorities, Import: {ca}
  Debian    sudo cp {ca} /usr/local/share/ca-certificates/aldis-dev.crt && sudo update-ca-certificates
  Node      NODE_EXTRA_CA_CERTS={ca}
  aldis     aldis edge --ca {ca} --host wss://localhost:8400/v1 --topic lobby
"
    )
}
