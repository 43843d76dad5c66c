//! What can be wrong with an exporter's TLS.

use std::{fmt, io};

use rustls::{CertificateError, Error};

/// Why TLS cannot be spoken with an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// Nobody who is trusted has signed the certificate.
    UnknownAuthority,
    /// The certificate is over.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// The certificate is of another name.
    OtherName,
    /// The certificate is bad in another way.
    BadCertificate,
    /// The exporter speaks something else.
    NotTls,
    /// The exporter will not have us.
    Refused,
    /// The system has no authorities, and no file names any.
    NoAuthorities,
    /// The file of authorities cannot be used; the log says why.
    UnusableCaFile,
    /// The handshake took longer than 10 s.
    TimedOut,
    /// The connection broke.
    Broken,
}

impl TlsFault {
    /// The value of the label `reason` where it is counted.
    pub const LABEL: &'static str = "tls";

    pub(super) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::Broken;
        };
        match error {
            Error::InvalidCertificate(certificate) => match certificate {
                // An authority of the same name, with another key, is another one.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::OtherName
                }
                _ => Self::BadCertificate,
            },
            Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Refused,
        }
    }
}

/// In words, to be put after the exporter's name and a colon.
impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownAuthority => "certificate of an unknown authority, see ca_file",
            Self::Expired => "certificate has expired",
            Self::NotYetValid => "certificate is not valid yet; is the clock right?",
            Self::OtherName => "certificate is not for server_name",
            Self::BadCertificate => "certificate cannot be verified",
            Self::NotTls => "does not speak TLS",
            Self::Refused => "refused the TLS handshake",
            Self::NoAuthorities => "certificate cannot be verified without ca_file",
            Self::UnusableCaFile => "ca_file cannot be used, see the log",
            Self::TimedOut => "did not finish the TLS handshake in time",
            Self::Broken => "closed the connection in the TLS handshake",
        })
    }
}
