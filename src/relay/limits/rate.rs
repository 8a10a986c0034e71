//! How often something may happen.

/// A token bucket: `burst` at once, refilled at `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens per second; 0 means no limit.
    pub per_second: u32,
    /// Tokens that may be taken at once.
    pub burst: u32,
}
