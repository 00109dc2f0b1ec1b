//! Where a request stands in a trace: `traceparent` of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>).
//!
//! A header that cannot be read is as none: the trace begins here.

/// A trace, and who in it has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The caller's span; none when the trace begins here.
    pub parent: Option<u64>,
    /// Whether the caller records it.
    pub sampled: bool,
}

impl Context {
    /// Reads `version-trace-parent-flags`.
    pub fn read(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let parent = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        // A later version may have more parts, the first one has not.
        let known = version == 0 && parts.next().is_none() || (1..0xff).contains(&version);
        let valid = known && trace != 0 && parent != 0;
        valid.then_some(Self { trace, parent: Some(parent), sampled: flags & 1 == 1 })
    }

    /// A trace that begins here, for this share of requests.
    pub fn begun(share: f64, random: &mut dyn FnMut() -> u64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let drawn = (random() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut half = || u128::from(random());
        (drawn < share).then(|| Self {
            trace: (half() << 64 | half()).max(1),
            parent: None,
            sampled: true,
        })
    }

    /// What is said to whom the span calls.
    pub fn traceparent(&self, span: u64) -> String {
        format!("00-{:032x}-{span:016x}-{:02x}", self.trace, u8::from(self.sampled))
    }
}

/// A number of so many lower-case digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && plain).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        let context = Context::read(GOOD.as_bytes()).unwrap();
        assert_eq!((context.parent, context.sampled), (Some(0xb7ad_6b71_6920_3331), true));
        assert_eq!(context.traceparent(0xb7ad_6b71_6920_3331), GOOD);
    }

    #[test]
    fn later_versions_may_say_more_and_what_is_malformed_is_none() {
        assert!(Context::read(GOOD.replacen("00", "cc", 1).as_bytes()).is_some());
        assert!(
            Context::read(format!("{}-more", GOOD.replacen("00", "cc", 1)).as_bytes()).is_some()
        );
        for wrong in [
            String::new(),
            format!("{GOOD}-more"),
            GOOD.replacen("00", "ff", 1),
            GOOD.to_uppercase(),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace("b7ad6b7169203331", "+7ad6b7169203331"),
            GOOD.replace("-01", "-1"),
        ] {
            assert_eq!(Context::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(context) = Context::read(&bytes) {
                prop_assert!(context.trace != 0);
            }
        }
    }
}
