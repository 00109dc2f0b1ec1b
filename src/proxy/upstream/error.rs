//! Why a request got no response. Bounded, and safe to show: no address, no name, no library's words.

/// Why a request got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SendError {
    /// The address took no connection.
    #[error("the connection was refused")]
    Connect,
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The name leads to an address that is not of the public internet.
    #[error("the address is private")]
    Private,
    /// The head of the response cannot be read, or is larger than we take.
    #[error("the response cannot be read")]
    Protocol,
    /// The connection broke before the head of the response. The request may have been seen.
    #[error("the connection broke")]
    Reset,
    /// The name leads nowhere.
    #[error("the name is unknown")]
    Resolve,
    /// No TLS: the certificate is wrong, or there is none.
    #[error("the TLS handshake failed")]
    Tls,
}

impl SendError {
    /// Whether there never was a connection: nobody has seen the request, so nobody can bill it.
    pub fn is_connect(self) -> bool {
        match self {
            Self::Connect | Self::ConnectTimeout | Self::Private | Self::Resolve | Self::Tls => {
                true
            }
            Self::Protocol | Self::Reset => false,
        }
    }

    /// What hyper says about a request that went out.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_parse() || error.is_user() { Self::Protocol } else { Self::Reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_no_failure_to_connect() {
        for (error, never_sent) in [
            (SendError::Connect, true),
            (SendError::ConnectTimeout, true),
            (SendError::Private, true),
            (SendError::Resolve, true),
            (SendError::Tls, true),
            (SendError::Protocol, false),
            (SendError::Reset, false),
        ] {
            assert_eq!(error.is_connect(), never_sent, "{error}");
        }
    }
}
