//! The order of what one peer sends (PROTOCOL.md §7.1).

/// Where a peer has got to with what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Of the claim by which it is present: a later session of a peer that moves has a higher one.
    pub(crate) counter: u64,
    /// Its session.
    pub(crate) session: u64,
    /// Its count there.
    pub(crate) n: u64,
}

impl Turn {
    /// Whether it comes after another one of the same peer. What a peer's former home still sends when the next one has spoken
    /// for it comes too late.
    #[must_use]
    pub(crate) fn is_after(&self, last: &Self) -> bool {
        let same = self.session == last.session;
        self.counter > last.counter || self.counter == last.counter && (!same || self.n > last.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_former_home_still_sends_comes_too_late() {
        let turn = |counter, session, n| Turn { counter, session, n };
        let last = turn(5, 1, 9);
        assert!(turn(5, 1, 10).is_after(&last) && !turn(5, 1, 9).is_after(&last) && !turn(5, 1, 8).is_after(&last));
        assert!(turn(6, 2, 1).is_after(&last) && turn(5, 2, 1).is_after(&last), "its next session counts anew");
        assert!(!turn(4, 2, 10).is_after(&last));
    }
}
