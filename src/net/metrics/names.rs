//! What things are called in labels.

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::{GoodbyeReason, NotIntroducedReason, Role};

use crate::relay::io::{Bar, CatchUp, DialFailure};

pub(super) fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Dialler => "dialler",
        Role::Acceptor => "acceptor",
    }
}

pub(super) fn gone(reason: GoneReason) -> &'static str {
    match reason {
        GoneReason::Closed => "closed",
        GoneReason::Lost => "lost",
        GoneReason::Moved => "moved",
        GoneReason::Ended => "ended",
        GoneReason::HostClosed => "host_closed",
    }
}

pub(super) fn goodbye_name(reason: GoodbyeReason) -> &'static str {
    match reason {
        GoodbyeReason::Closing => "closing",
        GoodbyeReason::Crossed => "crossed",
        GoodbyeReason::NotAdmitted => "not_admitted",
        GoodbyeReason::Misbehaved => "misbehaved",
        GoodbyeReason::Full => "full",
        GoodbyeReason::NotAllowed => "not_allowed",
        GoodbyeReason::Revoked => "revoked",
    }
}

pub(super) fn bar_name(bar: Bar) -> &'static str {
    match bar {
        Bar::Denied => "denied",
        Bar::Unlisted => "not_in_allow_list",
        Bar::Revoked => "revoked",
    }
}

pub(super) fn failure_name(failure: &DialFailure) -> &'static str {
    match failure {
        DialFailure::TimedOut => "timed_out",
        DialFailure::OtherNetwork => "other_network",
        DialFailure::OtherHost => "other_host",
        DialFailure::Failed(_) => "failed",
    }
}

pub(super) fn not_introduced_name(why: NotIntroducedReason) -> &'static str {
    match why {
        NotIntroducedReason::NotLinked => "not_linked",
        NotIntroducedReason::Unwilling => "unwilling",
        NotIntroducedReason::Hopeless => "hopeless",
        NotIntroducedReason::TooOften => "too_often",
    }
}

pub(super) fn catch_up_name(by: CatchUp) -> &'static str {
    match by {
        CatchUp::Graft => "graft",
        CatchUp::Delta => "delta",
        CatchUp::Digest => "digest",
    }
}
