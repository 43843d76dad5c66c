//! TLS, users and header fields of the bridge's listeners, against curl, promtool and Prometheus.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use onionscrape::http::Web;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::task::block_in_place;

use crate::chain::is_up;
use crate::checkout::repository;
use crate::exporters::{Exporter, Manner};
use crate::world::{Monitor, World, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate authority, and a folder with what it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: PathBuf) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, folder.display().to_string());
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// Signs `NAME.pem`, with its key in `NAME_key.pem`.
    fn sign(&self, name: &str, alternative_names: &[&str], usage: ExtendedKeyUsagePurpose) -> String {
        let names: Vec<_> = alternative_names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        self.write(&format!("{name}_key.pem"), &key.serialize_pem());
        self.write(&format!("{name}.pem"), &certificate);
        certificate
    }

    /// The bridge's own certificate, in `cert.pem` and `cert_key.pem`.
    fn sign_server(&self) -> String {
        self.sign("cert", &["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign_client(&self, name: &str, alternative_name: &str) {
        self.sign(name, &[alternative_name], ExtendedKeyUsagePurpose::ClientAuth);
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// The line of a `bridge.toml` that names `web.yml` in this folder.
    fn line(&self) -> String {
        format!("web_config_file = {:?}", self.path("web.yml"))
    }
}

/// What curl got.
struct Fetched {
    /// 0 if there was no answer.
    status: u16,
    /// Head and body.
    answer: String,
}

/// Asks with curl, once and anew.
fn curl(url: &str, arguments: &[&str]) -> Fetched {
    let mut command = Command::new("curl");
    command.args(["--silent", "--include", "--max-time", "20", "--noproxy", "*", url]).args(arguments);
    let output = block_in_place(|| command.output()).unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Fetched { status, answer }
}

fn folder() -> PathBuf {
    repository("tests/config/web")
}

pub async fn files_are_judged_as_promtool_does(world: &World) {
    let authority = Authority::new(world.folder());
    let certificate = authority.sign_server();
    authority.write("chain.pem", &(certificate + &authority.issuer.pem()));
    authority.write("key.pem", &fs::read_to_string(authority.path("cert_key.pem")).unwrap());
    authority.write("other_key.pem", &KeyPair::generate().unwrap().serialize_pem());
    authority.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    authority.write("empty.pem", "");
    let state = world.folder();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (kind, promtool_takes, least) in
        [("accepted", true, 13), ("refused", false, 28), ("stricter", true, 15), ("newer", false, 4)]
    {
        let mut files: Vec<_> =
            fs::read_dir(folder().join(kind)).unwrap().map(|of| of.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
        assert!(files.len() >= least, "{kind}: only {} files", files.len());
        settings.set_snapshot_path(folder().join(kind));
        for file in files {
            let name = file.file_stem().unwrap().to_str().unwrap();
            fs::copy(&file, authority.path("web.yml")).unwrap();
            let mut promtool = Command::new("promtool");
            promtool.args(["check", "web-config", &authority.path("web.yml")]);
            let said = block_in_place(|| promtool.output()).unwrap();
            assert_eq!(said.status.success(), promtool_takes, "{kind} {name}: {said:?}");

            let accepted = kind == "accepted" || (kind == "newer" && !name.starts_with("bad_"));
            let arguments = [
                "check",
                "--web.config.file",
                &authority.path("web.yml"),
                "--state-dir",
                state.to_str().unwrap(),
            ];
            let checked = run("scraper-bridge", &arguments);
            let said = String::from_utf8(checked.stderr).unwrap();
            assert_eq!(checked.status.code(), Some(i32::from(!accepted)), "{kind} {name}: {said}");
            assert_eq!(said.is_empty(), accepted, "{kind} {name}: {said}");
            if !accepted {
                assert!(said.lines().all(|line| line.starts_with("scraper-bridge: /")), "{name}: {said}");
                let text = said.replace(&format!("{}/", authority.folder.display()), "");
                settings.bind(|| insta::assert_snapshot!(name, text));
            }
        }
    }
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "check changes nothing on disk");
    let missing = authority.path("no_such.yml");
    let said = Web::open(Path::new(&missing)).err().unwrap().to_string();
    assert_eq!(said, format!("{missing}: cannot be read: No such file or directory (os error 2)"));
}

pub async fn only_who_is_asked_for_gets_in(world: &World) {
    let authority = Authority::new(world.folder());
    authority.sign_server();
    authority.sign_client("client", "prometheus.example");
    authority.sign_client("neighbour", "neighbour.example");
    let stranger = Authority::new(world.folder());
    stranger.sign_client("client", "prometheus.example");
    let hash = bcrypt::hash_with_salt("s3cret:word", 4, [7; 16]).unwrap();
    authority.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: cert_key.pem\n  \
             client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  \
             client_allowed_sans: [prometheus.example]\n\
             http_server_config:\n  headers: {{X-Frame-Options: sameorigin}}\n\
             basic_auth_users:\n  prometheus: {hash}\n"
        ),
    );
    let exporter = Exporter::start(Manner::Echoes).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor_with(&authority.line(), &[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let address = monitor.address("backpack", "app");
    let url = format!("https://{address}/metrics");
    let (ca, certificate, key) =
        (authority.path("ca.pem"), authority.path("client.pem"), authority.path("client_key.pem"));
    let known = ["--cacert", &ca, "--cert", &certificate, "--key", &key];
    let with = |more: &[&str]| curl(&url, &[&known, more].concat());
    let right = ["--user", "prometheus:s3cret:word"];

    let fetched = with(&right);
    assert_eq!(fetched.status, 200, "{}", fetched.answer);
    assert!(fetched.answer.contains("x-frame-options: sameorigin"), "{}", fetched.answer);
    let passed_on = fetched.answer.rsplit("\r\n\r\n").next().unwrap();
    assert!(passed_on.contains("# get /metrics"), "{passed_on}");
    assert!(!passed_on.contains("authorization"), "the password went to the device: {passed_on}");
    for (version, least) in [("1.2", "--tlsv1.2"), ("1.3", "--tlsv1.3")] {
        let tls = [&right[..], &[least, "--tls-max", version]].concat();
        assert_eq!(with(&tls).status, 200, "TLS {version}");
    }
    assert_eq!(with(&[&right[..], &["--http2"]].concat()).status, 200, "HTTP/1.1 for who speaks HTTP/2 too");

    for (what, more) in [
        ("no password", &[][..]),
        ("a wrong one", &["--user", "prometheus:secret"]),
        ("an unknown user", &["--user", "nobody:s3cret:word"]),
        ("a token", &["--header", "Authorization: Bearer cHJvbWV0aGV1cw=="]),
    ] {
        let fetched = with(more);
        assert_eq!(fetched.status, 401, "{what}: {}", fetched.answer);
        assert!(fetched.answer.contains("www-authenticate: Basic realm="), "{what}: {}", fetched.answer);
        assert!(fetched.answer.contains("x-frame-options: sameorigin"), "{what}: {}", fetched.answer);
    }
    // The name comes before the password, and a page from elsewhere has no use for it.
    assert_eq!(with(&["--header", "Host: evil.example"]).status, 421);
    let from = |origin: &str| {
        let origin = format!("Origin: {origin}");
        with(&[&right[..], &["--request", "POST", "--header", &origin]].concat()).status
    };
    assert_eq!(from("https://evil.example"), 403);
    assert_eq!(from(&format!("https://{address}")), 405);

    let get = |url: &str, arguments: &[&str]| curl(url, &[arguments, &right].concat()).status;
    assert_eq!(get(&url, &["--cacert", &ca]), 0, "no certificate");
    let (certificate, key) = (authority.path("neighbour.pem"), authority.path("neighbour_key.pem"));
    assert_eq!(get(&url, &["--cacert", &ca, "--cert", &certificate, "--key", &key]), 0, "another name");
    let (certificate, key) = (stranger.path("client.pem"), stranger.path("client_key.pem"));
    assert_eq!(get(&url, &["--cacert", &ca, "--cert", &certificate, "--key", &key]), 0, "another authority");
    assert_eq!(get(&format!("http://{address}/metrics"), &[]), 0, "no TLS");

    let admin = format!("https://{}/metrics", monitor.bridge.admin());
    assert_eq!(get(&admin, &known), 200);
    assert_eq!(curl(&admin, &known).status, 401);
    let probed =
        run("scraper-bridge", &["probe", "backpack", "--config.file", monitor.file.to_str().unwrap()]);
    assert!(probed.status.success(), "the control socket asks for nothing: {probed:?}");

    let job = format!(
        "  scheme: https\n  tls_config: {{ca_file: '{ca}', cert_file: '{}', key_file: '{}'}}\n  \
         basic_auth: {{username: prometheus, password: 's3cret:word'}}\n",
        known[3], known[5]
    );
    is_up(world, &address, &job).await;
}

/// A bridge without targets, with TLS as `web.yml` in the authority's folder says.
async fn bridge(world: &World, authority: &Authority, web: &str) -> Monitor {
    authority.sign_server();
    authority.write("web.yml", web);
    world.monitor_of(&authority.line(), "").await
}

/// Waits until what curl gets is as wanted.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks for two seconds, in which the files are looked at, and more than once.
async fn stays(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2500) {
        assert!(condition(), "did not stay: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: cert_key.pem\n";

pub async fn a_changed_certificate_is_served(world: &World) {
    let authority = Authority::new(world.folder());
    let monitor = bridge(world, &authority, TLS).await;
    let url = format!("https://{}/-/healthy", monitor.bridge.admin());
    let trusts = |authority: &Authority| curl(&url, &["--cacert", &authority.path("ca.pem")]).status == 200;
    assert!(trusts(&authority));

    // Half of a new pair is not served, and does not end the old one.
    let other = Authority::new(world.folder());
    let certificate = other.sign_server();
    authority.write("cert.pem", &certificate);
    stays("the old certificate, beside half a new pair", || trusts(&authority)).await;
    authority.write("cert.pem", "garbage");
    stays("the old certificate, beside garbage", || trusts(&authority)).await;
    fs::remove_file(authority.path("cert.pem")).unwrap();
    stays("the old certificate, when it is gone", || trusts(&authority)).await;

    // The other half.
    authority.write("cert.pem", &certificate);
    authority.write("cert_key.pem", &fs::read_to_string(other.path("cert_key.pem")).unwrap());
    until("the new certificate is served", || trusts(&other)).await;
    assert!(!trusts(&authority));

    // A file that names another pair, put in place as a whole, as a careful program does.
    let third = Authority::new(world.folder());
    third.sign_server();
    let text = TLS.replace("cert.pem", &third.path("cert.pem"));
    authority.write("web.yml.new", &text.replace("cert_key.pem", &third.path("cert_key.pem")));
    fs::rename(authority.path("web.yml.new"), authority.path("web.yml")).unwrap();
    until("the certificate that the file names now is served", || trusts(&third)).await;
}

pub async fn a_protection_is_never_lost(world: &World) {
    let authority = Authority::new(world.folder());
    let hash = |password: &str| bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
    let users = |password: &str| format!("basic_auth_users:\n  prometheus: {}\n", hash(password));
    let monitor = bridge(world, &authority, &format!("{TLS}{}", users("first"))).await;
    let address = monitor.bridge.admin();
    let ca = authority.path("ca.pem");
    let status = |password: &str| {
        let user = format!("prometheus:{password}");
        curl(&format!("https://{address}/-/healthy"), &["--cacert", &ca, "--user", &user]).status
    };
    let open = || {
        let plain = curl(&format!("http://{address}/-/healthy"), &[]).status;
        plain != 0 || curl(&format!("https://{address}/-/healthy"), &["--cacert", &ca]).status != 401
    };
    assert!(status("first") == 200 && status("second") == 401 && !open());
    for bad in [
        "",
        "# nothing\n",
        TLS,
        &users("second"),
        &format!("{TLS}basic_auth_users: {{}}\n"),
        &format!("{TLS}basic_auth_users:\n  prometheus: second\n"),
        &format!("{TLS}{}nonsense", users("second")),
    ] {
        authority.write("web.yml", bad);
        stays(bad, || status("first") == 200 && status("second") == 401 && !open()).await;
    }
    authority.write("web.yml", &format!("{TLS}{}", users("second")));
    until("the new password is right", || status("second") == 200).await;
    assert_eq!(status("first"), 401);
}
