//! How requests and attempts end: two closed sets, each a label of a metric.

use crate::words::words;

words! {
    /// How a request ended.
    Outcome {
        /// The request was malformed.
        ClientError => "client_error",
        /// The client left before its answer was complete.
        ClientClosed => "client_closed",
        /// The caller may not use the model.
        Forbidden => "forbidden",
        /// Our own fault.
        Internal => "internal",
        /// No such model or path.
        NotFound => "not_found",
        /// A complete answer.
        Ok => "ok",
        /// The targets were too busy.
        Overloaded => "overloaded",
        /// Every target limited us.
        RateLimited => "rate_limited",
        /// No target can do what was asked.
        Refused => "refused",
        /// No answer in time.
        Timeout => "timeout",
        /// The body was too large.
        TooLarge => "too_large",
        /// The answer broke after bytes had gone out.
        Truncated => "truncated",
        /// The caller showed no valid credential.
        Unauthorized => "unauthorized",
        /// No target was usable, or the route is paused.
        Unavailable => "unavailable",
        /// The providers failed.
        UpstreamError => "upstream_error",
    }
}

words! {
    /// How an attempt ended.
    AttemptOutcome {
        /// The account has no money.
        Billing => "billing",
        /// The client left.
        Cancelled => "cancelled",
        /// No connection.
        Connect => "connect",
        /// The provider filtered prompt or answer.
        ContentFilter => "content_filter",
        /// The request did not fit the context.
        ContextExceeded => "context_exceeded",
        /// Our key was refused.
        CredentialRejected => "credential_rejected",
        /// The first token was late.
        FirstTokenTimeout => "first_token_timeout",
        /// The head of the response was late.
        HeadersTimeout => "headers_timeout",
        /// The provider refused the request itself.
        InvalidRequest => "invalid_request",
        /// The answer was unreadable.
        Malformed => "malformed",
        /// The provider does not know the model.
        ModelNotFound => "model_not_found",
        /// A complete answer.
        Ok => "ok",
        /// 503 or 529.
        Overloaded => "overloaded",
        /// 429.
        RateLimited => "rate_limited",
        /// The connection broke before the head of the response.
        Reset => "reset",
        /// 5xx.
        ServerError => "server_error",
        /// The certificate was wrong.
        Tls => "tls",
        /// The answer broke off.
        Truncated => "truncated",
    }
}
