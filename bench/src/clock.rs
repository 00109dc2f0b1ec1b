//! The one clock of a measurement: the machine's monotonic one, which all processes share.
//!
//! The mock writes it into each token and the client reads it there, so the way of every single token
//! is timed, through any translation, and no two distributions have to be subtracted.

use rustix::time::{ClockId, clock_gettime};

/// What stands before the time in a token's text.
pub(crate) const MARK: u8 = b'@';

/// Nanoseconds since the machine started.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// The times that stand in a piece of a stream, in order. A time that is cut off is not found: an
/// answer that lacks a token is counted as an error, so it does not go unnoticed.
pub(crate) fn stamps(text: &[u8]) -> impl Iterator<Item = u64> {
    memchr::memchr_iter(MARK, text).filter_map(|at| {
        let digits = text.get(at + 1..)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_times_are_found_and_others_passed_over() {
        let found: Vec<u64> = stamps(br#"{"content":" @12"}{"content":" @345"} a@b @6"#).collect();
        assert_eq!(found, [12, 345]);
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = now();
        assert!(before > 0 && now() >= before);
    }
}
