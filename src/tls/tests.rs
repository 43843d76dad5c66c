use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsAcceptor;

use super::*;

const NAME: &str = "exporter.example";

/// A certificate for the exporter's name, changed by `change`, and its key.
fn params(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    (params, KeyPair::generate().expect("key"))
}

fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
    let (params, key) = params(change);
    (params.self_signed(&key).expect("signed"), key)
}

fn settings(name: &str, ca_file: Option<PathBuf>) -> TlsSettings {
    let server_name = ServerName::try_from(name.to_owned()).expect("name");
    TlsSettings { server_name, ca_file, insecure_skip_verify: false }
}

/// What comes of asking an exporter that shows this certificate.
async fn outcome(client: &TlsClient, certificate: &Certificate, key: &KeyPair) -> Result<String, TlsFault> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("certificate");
    let (near, far) = duplex(1 << 16);
    tokio::spawn(async move {
        if let Ok(mut stream) = TlsAcceptor::from(Arc::new(server)).accept(far).await {
            let _ = stream.write_all(b"metrics").await;
            let _ = stream.shutdown().await;
        }
    });
    let mut stream = client.connect(near).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(|_| TlsFault::Broken)?;
    Ok(text)
}

#[tokio::test]
async fn a_certificate_is_taken_if_somebody_known_signed_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("key")).expect("signed");
    let file = folder.path().join("ca.pem");
    fs::write(&file, issuer.pem()).expect("written");
    let client = TlsClient::open(settings(NAME, Some(file.clone()))).expect("opened");
    let signed = |change: fn(&mut CertificateParams)| {
        let (params, key) = params(change);
        (params.signed_by(&key, &issuer).expect("signed"), key)
    };

    let (good, key) = signed(|_| ());
    assert_eq!(outcome(&client, &good, &key).await, Ok("metrics".into()));
    let other = TlsClient::open(settings("other.example", Some(file))).expect("opened");
    assert_eq!(outcome(&other, &good, &key).await, Err(TlsFault::OtherName));
    let (old, key) = signed(|params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_eq!(outcome(&client, &old, &key).await, Err(TlsFault::Expired));
    let (new, key) = signed(|params| params.not_before = date_time_ymd(2090, 1, 1));
    assert_eq!(outcome(&client, &new, &key).await, Err(TlsFault::NotYetValid));
    let (strange, key) = self_signed(|_| ());
    assert_eq!(outcome(&client, &strange, &key).await, Err(TlsFault::UnknownAuthority));
    let skips = TlsSettings { insecure_skip_verify: true, ..settings("other.example", None) };
    assert_eq!(outcome(&TlsClient::new(skips), &strange, &key).await, Ok("metrics".into()));
}

#[tokio::test]
async fn an_exporters_own_certificate_can_be_listed() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("exporter.pem");
    // As `openssl req -x509` makes them, and as rcgen does.
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::NoCa] {
        let (own, key) = self_signed(|params| params.is_ca = is_ca);
        fs::write(&file, own.pem()).expect("written");
        let client = TlsClient::open(settings(NAME, Some(file.clone()))).expect("opened");
        assert_eq!(outcome(&client, &own, &key).await, Ok("metrics".into()));
        let other = TlsClient::open(settings("other.example", Some(file.clone()))).expect("opened");
        assert_eq!(outcome(&other, &own, &key).await, Err(TlsFault::OtherName));
        let (old, key) = self_signed(|params| {
            params.is_ca = is_ca;
            params.not_after = date_time_ymd(2020, 1, 1);
        });
        fs::write(&file, old.pem()).expect("written");
        let client = TlsClient::open(settings(NAME, Some(file.clone()))).expect("opened");
        assert_eq!(outcome(&client, &old, &key).await, Err(TlsFault::Expired));
    }
}

#[tokio::test]
async fn a_changed_file_counts_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("ca.pem");
    let ((first, first_key), (second, second_key)) = (self_signed(|_| ()), self_signed(|_| ()));
    let lazy = TlsClient::new(settings(NAME, Some(file.clone())));
    assert_eq!(outcome(&lazy, &first, &first_key).await, Err(TlsFault::UnusableCaFile));
    fs::write(&file, first.pem()).expect("written");
    assert_eq!(outcome(&lazy, &first, &first_key).await, Ok("metrics".into()));
    fs::write(&file, "-----BEGIN CERTIFICATE-----\n!!!\n").expect("written");
    assert_eq!(outcome(&lazy, &first, &first_key).await, Ok("metrics".into()), "what was before holds");
    fs::write(&file, second.pem() + "\n").expect("written");
    assert_eq!(outcome(&lazy, &second, &second_key).await, Ok("metrics".into()));
    assert_eq!(outcome(&lazy, &first, &first_key).await, Err(TlsFault::UnknownAuthority));
    for (text, what) in [("", "has no certificate in PEM"), ("-----BEGIN CERTIFICATE-----\n", DAMAGED)] {
        fs::write(&file, text).expect("written");
        let said = TlsClient::open(settings(NAME, Some(file.clone()))).expect_err("bad").to_string();
        assert_eq!(said, format!("{}: {what}", file.display()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_tls_is_told_apart() {
    let skips = TlsSettings { insecure_skip_verify: true, ..settings(NAME, None) };
    let client = TlsClient::open(skips).expect("opened");
    let ask = async |says: &'static [u8], goes: bool| {
        let (near, mut far) = duplex(1 << 16);
        tokio::spawn(async move {
            let _ = far.read(&mut [0; 1024]).await;
            let _ = far.write_all(says).await;
            if !goes {
                std::future::pending::<()>().await;
            }
        });
        client.connect(near).await.err()
    };
    assert_eq!(ask(b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await, Some(TlsFault::NotTls));
    // A fatal alert, handshake_failure (RFC 8446, section 6).
    assert_eq!(ask(b"\x15\x03\x03\x00\x02\x02\x28", true).await, Some(TlsFault::Refused));
    assert_eq!(ask(b"", true).await, Some(TlsFault::Broken));
    assert_eq!(ask(b"", false).await, Some(TlsFault::TimedOut));
}

#[test]
fn every_fault_is_short() {
    for fault in [
        TlsFault::UnknownAuthority,
        TlsFault::NotYetValid,
        TlsFault::NoAuthorities,
        TlsFault::UnusableCaFile,
        TlsFault::TimedOut,
    ] {
        let said = format!("exporter some-exporter: {fault}");
        assert!(said.len() <= 80 && said.is_ascii(), "{said}");
    }
}
