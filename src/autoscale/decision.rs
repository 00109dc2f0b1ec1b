//! What was decided, and why.

use crate::words::words;

words! {
    /// Why the number is what it is.
    Reason {
        /// Fewer are not allowed.
        AtLeast => "AtLeast",
        /// More are not allowed.
        AtMost => "AtMost",
        /// So many are enough for the requests in flight and waiting.
        Demand => "Demand",
        /// Fewer are wanted, a tenth of them goes in a minute.
        FallingSlowly => "FallingSlowly",
        /// Somebody waits and there was no replica.
        FromZero => "FromZero",
        /// First tokens come too late, and the replicas are full.
        LateFirstTokens => "LateFirstTokens",
        /// First tokens come too late, and the replicas are not full: more would not help.
        LateWithoutLoad => "LateWithoutLoad",
        /// No proxy has answered for half a minute.
        NoData => "NoData",
        /// More are wanted; the number doubles in fifteen seconds at most.
        RisingSlowly => "RisingSlowly",
        /// Fewer are wanted, and some proxy does not say what it has.
        SomeUnread => "SomeUnread",
        /// Fewer are wanted, but not for long enough.
        WaitingForCalm => "WaitingForCalm",
    }
}

/// How many replicas there should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// So many.
    pub desired: u32,
    /// Why.
    pub reason: Reason,
    /// Requests in flight and waiting, the mean of a minute; none while nothing is known.
    pub demand: Option<f64>,
}
