//! What can be wrong with an exporter.

use onionscrape::address::Name;
use onionscrape::tls::TlsFault;

/// Why an exporter's answer cannot be had, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExporterFailure {
    Refused,
    Timeout,
    BadResponse,
    Aborted,
    TooLarge,
    Unfilterable,
    LongLine,
    OwnFields,
    Tls(TlsFault),
}

impl ExporterFailure {
    pub(super) const ALL: [Self; 9] = [
        Self::Refused,
        Self::Timeout,
        Self::BadResponse,
        Self::Aborted,
        Self::TooLarge,
        Self::Unfilterable,
        Self::LongLine,
        Self::OwnFields,
        Self::Tls(TlsFault::NotTls),
    ];

    /// Its value of the metrics label `reason`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::BadResponse => "bad_response",
            Self::Aborted => "aborted",
            Self::TooLarge => "too_large",
            Self::Unfilterable => "unfilterable",
            Self::LongLine => "long_line",
            Self::OwnFields => "own_fields",
            Self::Tls(_) => TlsFault::LABEL,
        }
    }

    /// What it is, after the exporter's name.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Refused => "refused the connection",
            Self::Timeout => "did not answer in time",
            Self::BadResponse => "does not speak HTTP",
            Self::Aborted => "closed the connection without a whole answer",
            Self::TooLarge => "sends more than 256 MiB",
            Self::Unfilterable => "sends no text that can be filtered",
            Self::LongLine => "sends a line longer than 1 MiB",
            Self::OwnFields => "has a password or header file that cannot be used",
            Self::Tls(_) => "does not speak TLS as it should",
        }
    }

    /// What it is, with the exporter's name.
    pub(super) fn of_exporter(self, name: &Name) -> String {
        match self {
            Self::Tls(fault) => format!("exporter {name}: {fault}"),
            other => format!("exporter {name} {}", other.what()),
        }
    }

    /// What hyper's error comes to.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_parse() { Self::BadResponse } else { Self::Aborted }
    }
}

impl From<TlsFault> for ExporterFailure {
    fn from(fault: TlsFault) -> Self {
        match fault {
            TlsFault::Broken => Self::Aborted,
            TlsFault::TimedOut => Self::Timeout,
            fault => Self::Tls(fault),
        }
    }
}
