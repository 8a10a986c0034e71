//! An announcement as it is kept.

use std::sync::Arc;

use aldis_wire::announcement::{Announced, Head, SignedHead};
use aldis_wire::codec::CodecError;
use aldis_wire::host::{Announcement, Frame};
use aldis_wire::proof::Trust;
use bytes::Bytes;

use crate::relay::io::Moment;

/// An announcement whose signature was checked.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(super) what: Arc<Announced>,
    /// When the head was made, on our clock, as far as the hosts on the way tell.
    pub(crate) made: Moment,
}

impl std::ops::Deref for Heard {
    type Target = Announced;

    fn deref(&self) -> &Announced {
        &self.what
    }
}

impl Heard {
    /// An announcement for keeping.
    #[must_use]
    pub(crate) fn new(trust: Trust, head: Head, signed: SignedHead, ops: Option<Bytes>, made: Moment) -> Self {
        Self { what: trust.keep(Announced { head, signed, ops }), made }
    }

    /// Whether everything that the head covers is here.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.ops.is_some() || self.head.is_heartbeat()
    }

    /// The announcement as it is sent now, with its ops if there are any and `with_ops`.
    ///
    /// # Errors
    /// Does not fail for ops within their limit.
    pub(crate) fn frame(&self, now: Moment, with_ops: bool) -> Result<Bytes, CodecError> {
        let age = now.since(self.made).as_millis();
        Frame::Announcement(Announcement {
            age_ms: u32::try_from(age).unwrap_or(u32::MAX),
            head: self.signed.clone(),
            ops: self.ops.clone().filter(|_| with_ops),
        })
        .encode()
    }
}
