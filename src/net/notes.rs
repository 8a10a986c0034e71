//! Notes of the machine as lines of log. What happens per signal or per edge is for the metrics, and here at `debug`.

use tracing::{debug, info, warn};

use crate::relay::io::Note;

/// Writes one note into the log.
pub(super) fn log(note: &Note) {
    match note {
        Note::SessionOpened { peer, resumed } => debug!(%peer, resumed, "session opened"),
        Note::SessionEnded { peer, reason } => debug!(%peer, ?reason, "session ended"),
        Note::EdgeRefused { refusal } => debug!(?refusal, "refused an edge"),
        Note::SignalEnded { .. }
        | Note::SignalPassedOn
        | Note::Announced { .. }
        | Note::AnnouncementReceived { .. } => {}
        Note::LinkAdmitted { host, address, role } => info!(%host, %address, ?role, "linked"),
        Note::LinkEnded { host, admitted: true, reason } => info!(%host, reason, "link ended"),
        Note::LinkEnded { host, admitted: false, reason } => info!(%host, reason, "did not link"),
        Note::Misbehaved { host, fault } => warn!(%host, ?fault, "a host broke the protocol"),
        Note::DialFailed { address, failure } => debug!(%address, ?failure, "a dial came to nothing"),
        Note::DhtAnswered { registration: false, outcome: Ok(()) } => debug!("asked the DHT for hosts"),
        Note::DhtAnswered { registration: true, outcome: Ok(()) } => debug!("told the DHT where we are"),
        Note::DhtAnswered { outcome: Err(problem), .. } => {
            warn!(
                problem,
                "the DHT is of no use now; links that stand are not affected, and it is asked again by itself"
            );
        }
        Note::HostAppeared { host, epoch } => info!(%host, epoch, "a host appeared"),
        Note::HostExpired { host } => info!(%host, "a host is not heard of any more"),
        Note::HostQuarantined { host, fault } => warn!(%host, ?fault, "a host is not believed until it restarts"),
        Note::CaughtUp { host, by } => debug!(%host, ?by, "caught up"),
    }
}
