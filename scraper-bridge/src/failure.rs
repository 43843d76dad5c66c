//! Why a scrape failed, and the one table that turns it into an answer.

use hyper::StatusCode;
use onionscrape::http::Answer;

use onionscrape::tls::TlsFault;

use crate::pool::ConnectionFailure;
use crate::session::ChannelFailure;

/// Why a scrape failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeFailure {
    /// There is no session to the target, because of this.
    NotConnected(String),
    /// The target will not have this bridge, or is not who it should be.
    Denied(String),
    /// The far end would not open a channel to the exporter.
    Refused,
    /// The far end cannot reach the exporter.
    Unreachable,
    /// The device came by itself, and does not forward this port.
    NotForwarded,
    /// No channel opened in time: the far end took too long, or all that may be open were in use.
    Unopened,
    /// Time ran out at this hop.
    Timeout(&'static str),
    /// The session or channel died under the scrape.
    Aborted,
    /// TLS cannot be spoken with the exporter.
    Tls(TlsFault),
    /// What came is not an HTTP response that can be passed on.
    BadResponse(&'static str),
    /// The body was compressed, and cannot be had of what came.
    Undecodable,
    /// The body is larger than allowed.
    TooLarge,
    /// The agent answered in the exporter's stead.
    Exporter {
        /// The status that the agent gave.
        status: StatusCode,
        /// The label `reason`.
        reason: &'static str,
        /// What the agent says.
        what: String,
    },
}

/// All values of the label `reason`.
pub const REASONS: [&str; 9] = [
    "not_connected",
    "denied",
    "refused",
    "channel_timeout",
    "timeout",
    "aborted",
    TlsFault::LABEL,
    "bad_response",
    "too_large",
];

impl ScrapeFailure {
    /// That there is no channel.
    pub fn of_channel(failure: ChannelFailure) -> Self {
        match failure {
            ChannelFailure::Refused => Self::Refused,
            ChannelFailure::Unreachable => Self::Unreachable,
            ChannelFailure::NotForwarded => Self::NotForwarded,
            ChannelFailure::Late => Self::Unopened,
            ChannelFailure::Lost => Self::Aborted,
        }
    }

    /// That there is no connection.
    pub fn of_connection(failure: ConnectionFailure) -> Self {
        match failure {
            ConnectionFailure::Channel(failure) => Self::of_channel(failure),
            ConnectionFailure::Tls(TlsFault::Broken) => Self::Aborted,
            ConnectionFailure::Tls(TlsFault::TimedOut) => Self::Timeout("in the exporter's TLS handshake"),
            ConnectionFailure::Tls(fault) => Self::Tls(fault),
        }
    }

    /// The label `reason` of `onionscrape_scrape_failures_total`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected(_) => "not_connected",
            Self::Denied(_) => "denied",
            Self::Refused | Self::Unreachable | Self::NotForwarded => "refused",
            Self::Unopened => "channel_timeout",
            Self::Timeout(_) => "timeout",
            Self::Aborted => "aborted",
            Self::Tls(_) => TlsFault::LABEL,
            Self::BadResponse(_) | Self::Undecodable => "bad_response",
            Self::TooLarge => "too_large",
            Self::Exporter { reason, .. } => reason,
        }
    }

    /// The answer for Prometheus: 503 while there is no session, 504 when time ran out, else 502.
    ///
    /// It does not name the target, which Prometheus shows beside it: 80 letters are few.
    pub fn answer(&self, exporter: &str) -> Answer {
        let (status, why) = match self {
            Self::NotConnected(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
            Self::Denied(why) => (StatusCode::BAD_GATEWAY, why.clone()),
            Self::Refused => {
                (StatusCode::BAD_GATEWAY, format!("refused by the device: no channel to exporter {exporter}"))
            }
            Self::Unreachable => {
                (StatusCode::BAD_GATEWAY, format!("exporter {exporter} refused the connection"))
            }
            Self::NotForwarded => {
                (StatusCode::BAD_GATEWAY, format!("the device's ssh -R does not forward exporter {exporter}"))
            }
            Self::Unopened => {
                (StatusCode::GATEWAY_TIMEOUT, "timed out opening a channel to the device".to_owned())
            }
            Self::Timeout(hop) => (StatusCode::GATEWAY_TIMEOUT, format!("timed out {hop}")),
            Self::Aborted => (StatusCode::BAD_GATEWAY, "session lost during the scrape".to_owned()),
            Self::Tls(fault) => (StatusCode::BAD_GATEWAY, format!("exporter {exporter}: {fault}")),
            Self::BadResponse(what) => (StatusCode::BAD_GATEWAY, format!("exporter {exporter} {what}")),
            Self::Undecodable => {
                (StatusCode::BAD_GATEWAY, format!("exporter {exporter}'s answer cannot be decompressed"))
            }
            Self::TooLarge => {
                (StatusCode::BAD_GATEWAY, format!("exporter {exporter} answered more than max_body"))
            }
            Self::Exporter { status, what, .. } => (*status, what.clone()),
        };
        Answer::new(status, why)
    }
}

impl std::fmt::Display for ScrapeFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ScrapeFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_known_reason_and_a_short_phrase() {
        let failures = [
            ScrapeFailure::NotConnected("onion unreachable: the device is off or offline".into()),
            ScrapeFailure::Denied("ssh login refused: the device does not know this bridge's key".into()),
            ScrapeFailure::Refused,
            ScrapeFailure::Unopened,
            ScrapeFailure::Timeout("waiting for the exporter's answer"),
            ScrapeFailure::Aborted,
            ScrapeFailure::Tls(TlsFault::UnknownAuthority),
            ScrapeFailure::BadResponse("does not speak HTTP"),
            ScrapeFailure::TooLarge,
        ];
        for (failure, reason) in failures.iter().zip(REASONS) {
            assert_eq!(failure.reason(), reason);
            let answer = failure.answer("node");
            assert!(answer.status.is_server_error());
            assert!(answer.reason.len() <= 80 && answer.reason.is_ascii(), "{}", answer.reason);
        }
    }
}
