//! `probe`: one scrape by hand, with the time of each hop; and `redial`.

use std::process::ExitCode;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use onionscrape::lifecycle::Failure;
use onionscrape::output;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, control_socket};
use crate::config::{BridgeConfig, Listen};
use crate::fleet::Offered;
use crate::target::{DialTimes, State};

/// How long a bridge of our own may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(180);

/// Scrapes an exporter once; the body goes to standard output, the timings to standard error.
///
/// # Errors
/// When the target or exporter is not configured, or no scrape could even be tried.
pub async fn probe(
    mut config: BridgeConfig,
    target: &str,
    exporter: Option<&str>,
) -> Result<ExitCode, Failure> {
    let exporter = choose(&config, target, exporter)?;
    let socket = control_socket(&config);
    let started = Instant::now();
    if let Ok(stream) = UnixStream::connect(&socket).await {
        eprintln!("asking the running bridge");
        return report(scrape(stream, target, &exporter).await?, started).await;
    }
    // No bridge runs on this state directory, so a small one does for the time of a scrape.
    config.targets.retain(|configured| configured.name.as_str() == target);
    for exporter in config.targets.iter_mut().flat_map(|target| &mut target.exporters) {
        exporter.listen = Listen::Nowhere;
    }
    config.admin.set_port(0);
    (config.proxy, config.sd_file) = (None, None);
    // A device that comes by itself comes to the running bridge only.
    config.reverse = None;
    let shutdown = CancellationToken::new();
    let bridge = Bridge::start(config, shutdown.clone()).await?;
    connected(&bridge, started).await;
    let result = match UnixStream::connect(&socket).await {
        Ok(stream) => report(scrape(stream, target, &exporter).await?, started).await,
        Err(error) => Err(Failure(format!("{}: {error}", socket.display()))),
    };
    shutdown.cancel();
    bridge.run().await;
    result
}

fn choose(config: &BridgeConfig, target: &str, exporter: Option<&str>) -> Result<String, Failure> {
    let names = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let Some(found) = config.targets.iter().find(|configured| configured.name.as_str() == target) else {
        let known = names(config.targets.iter().map(|target| target.name.as_str()).collect());
        return Err(Failure(format!("no target is named {target:?}; configured are: {known}")));
    };
    let known: Vec<&str> = found.exporters.iter().map(|exporter| exporter.name.as_str()).collect();
    match (exporter, known.as_slice()) {
        (Some(wanted), known) if known.contains(&wanted) => Ok(wanted.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(Failure(format!("{target} has several exporters, name one: {}", names(known)))),
        (Some(wanted), _) => {
            Err(Failure(format!("{target} has no exporter {wanted:?}; configured are: {}", names(known))))
        }
    }
}

/// Waits until the session is up, or it is plain that it will not be soon, and tells of progress.
async fn connected(bridge: &Bridge, started: Instant) {
    let Some(Offered { target, .. }) = bridge.fleet().offered().into_iter().next() else { return };
    let mut state = target.state();
    let waiting = async {
        loop {
            let (said, done) = match &*state.borrow_and_update() {
                State::Up(pool) | State::Suspect(pool) => {
                    let DialTimes { transport, stream, login } = pool.times();
                    for (hop, took) in [
                        (transport, stream),
                        ("ssh kex", login.key_exchange),
                        ("ssh auth", login.authentication),
                    ] {
                        eprintln!("{hop:>10}  {:>8.1} ms", took.as_secs_f64() * 1000.0);
                    }
                    ("connected".to_owned(), true)
                }
                State::Blocked(why) => (why.clone(), false),
                State::Dialling(_) => ("connecting to the device".to_owned(), false),
                State::Waiting(trouble, _) | State::Refused(trouble, _) => (trouble.what.clone(), true),
            };
            eprintln!("{:>6.1} s  {said}", started.elapsed().as_secs_f64());
            if done || state.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(CONNECT_LIMIT, waiting).await;
}

/// Has a running bridge throw a target's session away and dial anew over fresh circuits.
///
/// # Errors
/// When no bridge runs on this state directory, or it does not know the target.
pub async fn redial(config: BridgeConfig, target: &str) -> Result<ExitCode, Failure> {
    let socket = control_socket(&config);
    let stream = UnixStream::connect(&socket)
        .await
        .map_err(|_| Failure(format!("no bridge is running on {}", config.state_directory.display())))?;
    let response = ask(stream, Method::POST, format!("/t/{target}/redial")).await?;
    match response.status() {
        StatusCode::ACCEPTED => Ok(ExitCode::SUCCESS),
        _ => Err(Failure(format!("the bridge has no target {target:?}"))),
    }
}

async fn scrape(stream: UnixStream, target: &str, exporter: &str) -> Result<Response<Incoming>, Failure> {
    ask(stream, Method::GET, format!("/t/{target}/{exporter}/metrics")).await
}

/// Asks a running bridge over its control socket.
pub(crate) async fn ask(
    stream: UnixStream,
    method: Method,
    path: String,
) -> Result<Response<Incoming>, Failure> {
    onionscrape::http::ask(stream, method, &path).await
}

/// Prints the answer; the exit code says whether it is a good one.
async fn report(response: Response<Incoming>, started: Instant) -> Result<ExitCode, Failure> {
    let status = response.status();
    let timing =
        response.headers().get("server-timing").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure(format!("the scrape broke off after {bytes} bytes")))?;
        if let Some(data) = frame.data_ref() {
            bytes += data.len();
            if status == StatusCode::OK {
                if let Err(code) = output::try_write(data) {
                    return Ok(ExitCode::from(code));
                }
            } else {
                eprint!("{}", String::from_utf8_lossy(data));
            }
        }
    }
    for lap in timing.iter().flat_map(|timing| timing.split(", ")) {
        if let Some((name, took)) = lap.split_once(";dur=") {
            eprintln!("{name:>10}  {took:>8} ms");
        }
    }
    eprintln!(
        "{:>10}  {:>8.1} ms, {bytes} bytes, status {}",
        "in all",
        started.elapsed().as_secs_f64() * 1000.0,
        status.as_u16()
    );
    Ok(if status == StatusCode::OK { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::kept::Kept;

    #[tokio::test]
    async fn a_probe_by_itself_forgets_nothing_of_other_targets() {
        let folder = tempfile::tempdir().expect("folder");
        // Nobody listens on port 1, so the probe ends at once.
        let target = |name: &str| {
            format!(
                "[[target]]\nname = {name:?}\naddress = \"ssh://metrics@127.0.0.1:1\"\n\
                 host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs\"\n\
                 [[target.exporter]]\nname = \"node\"\naddress = \"127.0.0.1:9100\"\n"
            )
        };
        let state = folder.path().join("bridge");
        let text = format!("state_dir = {state:?}\n{}{}", target("attic"), target("backpack"));
        let file = folder.path().join("bridge.toml");
        std::fs::write(&file, text).expect("written");
        onionscrape::files::private_directory(&state).expect("made");
        let kept = ["attic", "backpack"].map(|name| {
            let name = name.parse().expect("name");
            let inventory = serde_json::from_str(r#"{"version":1,"exporters":[]}"#).expect("inventory");
            Kept::new(&state, &name, "127.0.0.1").write(&inventory).expect("written");
            Kept::path(&state, &name)
        });
        let config = BridgeConfig::read(Some(&file), None).expect("right");
        let code = probe(config, "attic", None).await.expect("tried");
        assert_eq!(code, ExitCode::from(1), "nobody is there");
        assert!(kept.iter().all(|path| path.exists()));
    }
}
